// Package crds names the types whose CustomResourceDefinitions controller-gen writes, so that go.mod keeps their module.
package crds

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
