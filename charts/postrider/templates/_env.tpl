{{/* The settings that hold no secret, in full: what the values say over what follows from them. */}}
{{- define "postrider.config" -}}
{{- $derived := dict
  "POSTRIDER_TELEMETRY__HOST" "0.0.0.0"
  "POSTRIDER_TELEMETRY__PORT" "9464"
  "POSTRIDER_TELEMETRY__PORTS" "16"
  "POSTRIDER_DATABASE__POOL_SIZE" (.Values.database.poolSize | int | toString)
  "POSTRIDER_DATABASE__POOLER" (.Values.database.pooler | toString)
-}}
{{- if .Values.probe.enabled -}}
{{- $_ := set $derived "POSTRIDER_EGRESS__PROBE" (printf "%s:8080" .Values.probe.receiverIP) -}}
{{- end -}}
{{- with .Values.monitoring.traces.endpoint -}}
{{- $_ := set $derived "OTEL_EXPORTER_OTLP_ENDPOINT" . -}}
{{- end -}}
{{- toJson (merge (deepCopy .Values.config) $derived) -}}
{{- end }}

{{- define "postrider.config-name" -}}
{{- printf "%s-%s" (include "postrider.name" (list . "config")) (include "postrider.hash" (include "postrider.config" .)) -}}
{{- end }}

{{/* The Secret that pods read. One that we make has a hash in its name, so that whoever goes back finds the old one. */}}
{{- define "postrider.secret-name" -}}
{{- with .Values.secrets -}}
{{- if .existingSecret -}}
{{ .existingSecret }}
{{- else if .external.enabled -}}
{{ printf "%s-%s" (include "postrider.name" (list $ "secrets")) (include "postrider.hash" .external) }}
{{- else -}}
{{ printf "%s-%s" (include "postrider.name" (list $ "secrets")) (include "postrider.hash" .inline) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* An environment variable out of the Secret: (list $ "NAME" "KEY"), or with a true behind it one that may be missing. */}}
{{- define "postrider.secret-env" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "postrider.secret-name" (index . 0) }}
      key: {{ index . 2 }}
      {{- if gt (len .) 3 }}
      optional: true
      {{- end }}
{{- end }}

{{/* Each part gets the one database role that it needs, and no other secret than it uses: (list $ "api"). */}}
{{- define "postrider.secrets" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $urls := dict
  "api" (dict "POSTRIDER_DATABASE__URL" "POSTRIDER_DATABASE__URL")
  "worker" (dict "POSTRIDER_DATABASE__URL" "POSTRIDER_DATABASE__WORKER_URL" "POSTRIDER_DATABASE__WORKER_URL" "POSTRIDER_DATABASE__WORKER_URL")
  "beat" (dict "POSTRIDER_DATABASE__URL" "POSTRIDER_DATABASE__WORKER_URL")
  "operator" (dict "POSTRIDER_DATABASE__URL" "POSTRIDER_DATABASE__URL" "POSTRIDER_DATABASE__WORKER_URL" "POSTRIDER_DATABASE__WORKER_URL" "POSTRIDER_DATABASE__MIGRATOR_URL" "POSTRIDER_DATABASE__MIGRATOR_URL")
-}}
{{- if ne $part "receiver" }}
{{- range $name, $key := get $urls $part }}
{{ include "postrider.secret-env" (list $root $name $key) }}
{{- end }}
{{- range $name := list "POSTRIDER_REDIS__URL" "POSTRIDER_SECRETS__KEYS" "POSTRIDER_SECRETS__ACTIVE" }}
{{ include "postrider.secret-env" (list $root $name $name) }}
{{- end }}
{{- range $name := list "POSTRIDER_TELEMETRY__SENTRY_DSN" "OTEL_EXPORTER_OTLP_HEADERS" }}
{{ include "postrider.secret-env" (list $root $name $name true) }}
{{- end }}
{{- end }}
{{- if has $part (list "worker" "operator") }}
{{ include "postrider.secret-env" (list $root "POSTRIDER_MAIL__URL" "POSTRIDER_MAIL__URL" true) }}
{{- end }}
{{- if has $part (list "api" "worker") }}
{{ include "postrider.secret-env" (list $root "POSTRIDER_EGRESS__PROXY" "POSTRIDER_EGRESS__PROXY" true) }}
{{- end }}
{{- end }}
