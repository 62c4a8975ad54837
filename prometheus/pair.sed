# Makes of prometheus.yml what each Prometheus of a pair reads (docs/scaling.md): all of docker-compose.scale.yaml are targets,
# REPLICA tells the two apart in the bucket, and no alert carries it: else each would be notified twice.
#
# Loaded by:    docker-compose.scale.yaml, where a Prometheus starts; tests/scale.
# Keep in step: the services of docker-compose.scale.yaml.
s/\[otel-collector:\([0-9]*\)\]/[otel-collector:\1, otel-collector-2:\1, otel-collector-3:\1]/
s/\[prometheus:\([0-9]*\)\]/[prometheus:\1, prometheus-2:\1]/
s/\[alertmanager:\([0-9]*\)\]/[alertmanager:\1, alertmanager-2:\1, alertmanager-3:\1]/
s/^  external_labels:.*/&\n    replica: ${REPLICA}/
s/^alerting:.*/&\n  alert_relabel_configs: [{regex: replica, action: labeldrop}]/
# Rules are named from this file's folder, and what is made lies in another.
s|^  - \([a-z][^ ]*\.yaml\)|  - /etc/prometheus/\1|
