{{/* Pods of a part at the most, when nothing is being released: (list replicas autoscaled maxReplicas). */}}
{{- define "postrider.most-pods" -}}
{{- index . 1 | ternary (index . 2) (index . 0) | int -}}
{{- end }}

{{/* So many pods with those that a release adds: (list pods surge). */}}
{{- define "postrider.with-surge" -}}
{{- $pods := index . 0 | int -}}
{{- $surge := index . 1 | toString -}}
{{- if hasSuffix "%" $surge -}}
{{- add $pods (ceil (divf (mulf $pods (trimSuffix "%" $surge | float64)) 100)) -}}
{{- else -}}
{{- add $pods ($surge | int) -}}
{{- end -}}
{{- end }}

{{/* Connections to the database at the most, in the middle of a release; JSON with each part's share. */}}
{{- define "postrider.connections" -}}
{{- $surge := .Values.rollouts.maxSurge -}}
{{- $api := .Values.api -}}
{{- $pods := include "postrider.most-pods" (list $api.replicas $api.autoscaling.enabled $api.autoscaling.maxReplicas) | int -}}
{{- $mode := include "postrider.release-mode" . -}}
{{- if or (eq $mode "blueGreen") (and (eq $mode "canary") .Values.gateway.enabled) -}}
{{- /* The stable version stays whole until the new one has all callers. */ -}}
{{- $pods = mul 2 $pods -}}
{{- else -}}
{{- $pods = include "postrider.with-surge" (list $pods $surge) | int -}}
{{- end -}}
{{- /* A process has its pool, and a connection of the group commit's own. */ -}}
{{- $shares := dict "api" (mul $pods $api.processes (add .Values.database.poolSize 1)) -}}
{{- range $component, $pool := include "postrider.pools" . | fromJson -}}
{{- $most := include "postrider.most-pods" (list $pool.replicas (ne $pool.autoscaling.kind "none") $pool.autoscaling.maxReplicas) -}}
{{- $most = include "postrider.with-surge" (list $most $surge) | int -}}
{{- /* A child has five at the most and one of the engine's own, its main process one for its probes. */ -}}
{{- $_ := set $shares $component (mul $most (add 1 (mul 6 $pool.processes))) -}}
{{- end -}}
{{- /* Migrations, the operator's commands and the probe. */ -}}
{{- $_ := set $shares "operators" 6 -}}
{{- toJson $shares -}}
{{- end }}
