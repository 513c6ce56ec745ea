{{/*
A judgement by Prometheus: (dict "root" "name" "query" "good"), good a condition on the result; "count" times, or as long
as the release takes. No data judges nothing: it is inconclusive, and when it often is the release waits for somebody.
*/}}
{{- define "postrider.judgement" -}}
{{- $analysis := .root.Values.rollouts.analysis -}}
{{- $data := "len(result) > 0 && !isNaN(result[0])" -}}
- name: {{ .name }}
  initialDelay: {{ $analysis.initialDelay }}
  interval: {{ $analysis.interval }}
  {{- with .count }}
  count: {{ . }}
  {{- end }}
  failureLimit: {{ $analysis.failureLimit }}
  inconclusiveLimit: {{ $analysis.inconclusiveLimit }}
  consecutiveErrorLimit: 4
  successCondition: {{ printf "%s && %s" $data .good | quote }}
  failureCondition: {{ printf "%s && !(%s)" $data .good | quote }}
  provider:
    prometheus:
      address: {{ $analysis.prometheus }}
      timeout: 20
      query: |
        {{- .query | nindent 8 }}
{{- end }}

{{/* The share that is bad of what a version counts: (list counter all-selector bad-selector version window). */}}
{{- define "postrider.share" -}}
{{- $version := printf "version=\"{{args.%s}}\"" (index . 3) -}}
(sum(rate({{ index . 0 }}{{ "{" }}{{ $version }},{{ index . 2 }}{{ "}" }}[{{ index . 4 }}])) or vector(0))
/ (sum(rate({{ index . 0 }}{{ "{" }}{{ $version }},{{ index . 1 }}{{ "}" }}[{{ index . 4 }}])) > 0)
{{- end }}

{{- define "postrider.p99" -}}
histogram_quantile(0.99, sum by (le) (rate({{ index . 0 }}{{ "{" }}version="{{ "{{" }}args.{{ index . 2 }}{{ "}}" }}",{{ index . 1 }}{{ "}" }}[{{ index . 3 }}])))
{{- end }}

{{/* How often the API is judged: as long as a canary takes; after a switch to blue or green, which is at once, so often. */}}
{{- define "postrider.judgements" -}}
{{- if eq (include "postrider.release-mode" .) "blueGreen" -}}{{ .Values.rollouts.blueGreen.judgements | int }}{{- end -}}
{{- end }}

{{- define "postrider.analysis-template" -}}
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
{{ include "postrider.workload-head" . }}
spec:
  args:
    - name: latest
    - name: stable
{{- end }}
