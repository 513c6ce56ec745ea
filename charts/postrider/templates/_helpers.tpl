{{- define "postrider.fullname" -}}
{{- .Values.nameOverride | default "postrider" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The name of a part: (list $ "api"). */}}
{{- define "postrider.name" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s" (include "postrider.fullname" $root) (index . 1) | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the pods of a part; never changes once installed. */}}
{{- define "postrider.selector" -}}
app.kubernetes.io/name: postrider
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* What selects every pod of this release. */}}
{{- define "postrider.release" -}}
app.kubernetes.io/name: postrider
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What a pod bears: nothing that would start it anew for the sake of the chart's own version. */}}
{{- define "postrider.pod-labels" -}}
{{ include "postrider.selector" . }}
app.kubernetes.io/part-of: postrider
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "postrider.labels" -}}
{{- $root := index . 0 -}}
{{ include "postrider.selector" . }}
app.kubernetes.io/part-of: postrider
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A digest wins over a tag: it cannot be moved. */}}
{{- define "postrider.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "postrider.hash" -}}
{{- toJson . | sha256sum | trunc 8 -}}
{{- end }}

{{/* Who waits in front of whom, when Argo CD applies them. */}}
{{- define "postrider.wave" -}}
argocd.argoproj.io/sync-wave: {{ . | quote }}
{{- end }}

{{/* Whether the API is released by Argo Rollouts as a canary or as blue and green, or by a Deployment: canary, blueGreen, none. */}}
{{- define "postrider.release-mode" -}}
{{- if .Values.rollouts.enabled -}}{{ .Values.rollouts.mode }}{{- else -}}none{{- end -}}
{{- end }}

{{/* The Service that callers are sent to when nothing is being released. */}}
{{- define "postrider.stable-service" -}}
{{- if eq (include "postrider.release-mode" .) "canary" -}}
{{ include "postrider.name" (list . "api-stable") }}
{{- else -}}
{{ include "postrider.name" (list . "api") }}
{{- end -}}
{{- end }}

{{/* What the second map says over the first, nested maps too; a false or an empty value counts, unlike in `merge`. */}}
{{- define "postrider.over" -}}
{{- $result := deepCopy (index . 0) -}}
{{- range $key, $value := index . 1 -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $result $key)) -}}
{{- $value = include "postrider.over" (list (get $result $key) $value) | fromJson -}}
{{- end -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- toJson $result -}}
{{- end }}

{{/* The pools that are asked for, as a map from the name of a component to all that is said of it. */}}
{{- define "postrider.pools" -}}
{{- $pools := dict -}}
{{- range $name, $said := .Values.workers -}}
{{- $pool := include "postrider.over" (list $.Values.workerDefaults $said) | fromJson -}}
{{- if $pool.enabled -}}
{{- $_ := set $pools (printf "worker-%s" $name) $pool -}}
{{- end -}}
{{- end -}}
{{- toJson $pools -}}
{{- end }}

{{/* The kind that an autoscaler is pointed at. */}}
{{- define "postrider.scale-target" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.rollouts.enabled }}
apiVersion: argoproj.io/v1alpha1
kind: Rollout
{{- else }}
apiVersion: apps/v1
kind: Deployment
{{- end }}
name: {{ include "postrider.name" . }}
{{- end }}

{{/* Whether a pool is scaled by KEDA. */}}
{{- define "postrider.keda" -}}
{{- range $component, $pool := include "postrider.pools" . | fromJson -}}
{{- if eq $pool.autoscaling.kind "keda" -}}x{{- end -}}
{{- end -}}
{{- end }}

{{/* How many deliveries of these lanes are due and may go now. */}}
{{- define "postrider.sendable-query" -}}
SELECT {{ range $i, $lane := . }}{{ if $i }} + {{ end }}sendable_deliveries('{{ $lane }}'){{ end }}
{{- end }}

{{- define "postrider.hsts" -}}
{{- if .enabled -}}
max-age={{ .maxAge | int }}{{ if .includeSubDomains }}; includeSubDomains{{ end }}{{ if .preload }}; preload{{ end }}
{{- end -}}
{{- end }}

{{/*
What nginx answers by itself, in the form of the API's own errors; what comes from the API is left as it is.
Takes the Strict-Transport-Security of the route, empty without TLS.
*/}}
{{- define "postrider.edge-errors" -}}
{{- $hsts := . -}}
{{- $errors := list
  (list 400 "bad_request" "Bad request" "This is not HTTP")
  (list 405 "method_not_allowed" "Method not allowed" "This method is not taken here")
  (list 408 "request_timeout" "Request timeout" "The request did not come in time")
  (list 413 "payload_too_large" "Payload too large" "The body is larger than is taken here")
  (list 414 "uri_too_long" "URI too long" "The address of the request is too long")
  (list 421 "misdirected_request" "Misdirected request" "This connection was opened for another host")
  (list 429 "limit_reached" "Too many requests" "Too many requests from this address")
  (list 431 "headers_too_large" "Request header fields too large" "The headers are larger than is taken here")
  (list 500 "internal_error" "Internal error" "The request could not be passed on")
  (list 501 "not_implemented" "Not implemented" "This transfer encoding is not known here")
  (list 502 "unavailable" "Bad gateway" "The API is out of reach")
  (list 503 "unavailable" "Service unavailable" "The API is out of reach")
  (list 504 "unavailable" "Gateway timeout" "The API did not answer in time")
  (list 505 "version_not_supported" "HTTP version not supported" "This version of HTTP is not spoken here")
-}}
{{- with $hsts }}
# For what has no page below; whatever sets headers of its own says it by itself.
add_header Strict-Transport-Security "{{ . }}" always;
{{- end }}
{{- range $errors }}
{{- $status := index . 0 }}
{{- $body := dict "code" (index . 1) "detail" (index . 3) "type" (printf "urn:postrider:error:%s" (index . 1)) "title" (index . 2) "status" $status "instance" "" "requestId" "$request_id" }}
error_page {{ $status }}{{ if eq $status 431 }} 494{{ end }} = @postrider_{{ $status }};
location @postrider_{{ $status }} {
    internal;
    default_type application/json;
    add_header Cache-Control no-store always;
    add_header X-Content-Type-Options nosniff always;
    add_header X-Request-ID $request_id always;
    {{- with $hsts }}
    add_header Strict-Transport-Security "{{ . }}" always;
    {{- end }}
    {{- if has $status (list 429 503) }}
    add_header Retry-After 1 always;
    {{- end }}
    return {{ $status }} '{{ toJson $body }}';
}
{{- end }}
{{- end }}

{{/* A rule that lets out to the internet on these ports, and to no network that is private: (list policy ports). */}}
{{- define "postrider.internet" -}}
{{- $policy := index . 0 -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{ toJson $policy.notInternet }}
    - ipBlock:
        cidr: 2000::/3
        except: {{ toJson $policy.notInternet6 }}
  ports:
    {{- range index . 1 }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{/* The rule that lets out to the proxy that requests leave through, where there is one. */}}
{{- define "postrider.proxy" -}}
{{- with .proxy.to -}}
# The egress proxy.
- to: {{ toJson . }}
  ports:
    - {protocol: TCP, port: {{ $.proxy.port }}}
{{- end -}}
{{- end }}
