{{/* Given (list $ "component"): the labels by which that component's pods are found. */}}
{{- define "healthcare.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ $.Chart.Name }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Given (list $ "component"): all labels of a resource. */}}
{{- define "healthcare.labels" -}}
{{- $ := index . 0 -}}
{{ include "healthcare.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ $.Chart.Name }}-{{ $.Chart.Version }}
{{- end }}

{{/* Given (list $ "component"): of every pod. The profile `restricted`; no API of the cluster; spread over nodes. */}}
{{- define "healthcare.pod" -}}
{{- $ := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "healthcare.selector" . | nindent 8 }}
{{- end }}

{{/* Of every container. */}}
{{- define "healthcare.contained" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The environment of service and worker. */}}
{{- define "healthcare.environment" -}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://{{ .Release.Name }}-collector:4317"}
{{- range $name, $value := .Values.backend.settings }}
- {name: {{ $name }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}}
{{- end }}
{{- range $name, $from := .Values.backend.secrets }}
- {name: {{ $name }}, valueFrom: {secretKeyRef: {name: {{ $from.name }}, key: {{ $from.key }}}}}
{{- end }}
{{- end }}

{{/* Given (list $ "the Collector's YAML"): what each further Prometheus needs, a copy of the exporter that pushes to the
first, beside it in its pipelines. */}}
{{- define "healthcare.pushes" -}}
{{- $ := index . 0 -}}
{{- $shipped := index . 1 | fromYaml -}}
{{- $first := "otlp_http/prometheus" -}}
{{- $exporters := dict -}}
{{- with get $shipped.exporters $first -}}
{{- range $number, $url := rest $.Values.prometheus.otlp -}}
{{- $copy := merge (dict "endpoint" $url) (get $shipped.exporters $first) -}}
{{- $_ := set $exporters (printf "%s-%d" $first (add 2 $number)) $copy -}}
{{- end -}}
{{- end -}}
{{- $pipelines := dict -}}
{{- range $name, $pipeline := $shipped.service.pipelines -}}
{{- if has $first $pipeline.exporters -}}
{{- $_ := set $pipelines $name (dict "exporters" (concat $pipeline.exporters (keys $exporters | sortAlpha))) -}}
{{- end -}}
{{- end -}}
{{- if $exporters -}}
{{ dict "exporters" $exporters "service" (dict "pipelines" $pipelines) | toYaml }}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{/* Given (list $ "component"): one pod of it at a time may be taken from its node. */}}
{{- define "healthcare.disruption" -}}
{{- $ := index . 0 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $.Release.Name }}-{{ index . 1 }}
  labels: {{- include "healthcare.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "healthcare.selector" . | nindent 6 }}
{{- end }}
{{/* Given (list $ "path"): the text of a shipped file, which files/ links to. A checkout without links must not pass for one. */}}
{{- define "healthcare.shipped" -}}
{{- $ := index . 0 -}}
{{- $path := printf "files/%s" (index . 1) -}}
{{- required (printf "%s is missing or empty: is files/ made of links, as in the repository?" $path) ($.Files.Get $path) -}}
{{- end }}
