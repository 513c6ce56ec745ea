{{/*
The one pod template of Rollouts, Deployments and Jobs. It takes a dict:
root, component, role (whose secrets: api, worker, beat, operator), spec (what the values say of it), args,
and where it serves something ports, probes, env, waits (for the schema), lifecycle, restartPolicy, inlineConfig.
*/}}
{{- define "postrider.pod" -}}
{{- $root := .root -}}
{{- $defaults := $root.Values.podDefaults -}}
{{- $spec := .spec -}}
metadata:
  labels:
    {{- include "postrider.pod-labels" (list $root .component) | nindent 4 }}
    {{- with merge (deepCopy $spec.podLabels) $defaults.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (deepCopy $spec.podAnnotations) $defaults.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "postrider.name" (list $root .component) }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with $spec.priorityClassName | default $defaults.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .graceSeconds }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  securityContext:
    {{- include "postrider.pod-security" . | nindent 4 }}
  {{- if .waits }}
  initContainers:
    - name: wait-for-schema
      {{- include "postrider.container" (merge (dict "args" (list "migrate" "--wait") "resources" $defaults.waitResources) (omit . "ports" "probes" "lifecycle")) | nindent 6 }}
  {{- end }}
  containers:
    - name: {{ .role | replace "operator" "postrider" }}
      {{- include "postrider.container" (merge (dict "resources" ($spec.resources | default dict)) .) | nindent 6 }}
  {{- if .spread }}
  {{- include "postrider.spread" . | nindent 2 }}
  {{- end }}
  {{- with $spec.nodeSelector | default $defaults.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $spec.tolerations | default $defaults.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $spec.affinity | default $defaults.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: {{ $defaults.tmpSize }}
{{- end }}

{{- define "postrider.container" -}}
{{- $root := .root -}}
image: {{ include "postrider.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: {{ toJson .args }}
{{- if not .inlineConfig }}
envFrom:
  - configMapRef:
      name: {{ include "postrider.config-name" $root }}
{{- end }}
env:
  {{- include "postrider.secrets" (list $root .role) | trim | nindent 2 }}
  {{- if .inlineConfig }}
  {{- range $name, $value := include "postrider.config" $root | fromJson }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- end }}
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: k8s.namespace.name={{ $root.Release.Namespace }},k8s.pod.name=$(POD_NAME)
  {{- range $name, $value := .env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- with .spec.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .ports }}
ports:
  {{- range . }}
  - name: {{ .name }}
    containerPort: {{ .port }}
    protocol: TCP
  {{- end }}
{{- end }}
{{- range $name, $probe := .probes }}
{{ $name }}:
  {{- toYaml $probe | nindent 2 }}
{{- end }}
{{- with .lifecycle }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "postrider.container-security" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end }}

{{/* Pods of one version spread over zones, then over nodes. */}}
{{- define "postrider.spread" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $hash := $root.Values.rollouts.enabled | ternary "rollouts-pod-template-hash" "pod-template-hash" -}}
{{- $wanted := merge (deepCopy .spec.spread) $root.Values.podDefaults.spread -}}
{{- $keys := list (list "topology.kubernetes.io/zone" $wanted.zones) (list "kubernetes.io/hostname" $wanted.nodes) -}}
{{- if or (ne $wanted.zones "off") (ne $wanted.nodes "off") }}
topologySpreadConstraints:
  {{- range $keys }}
  {{- if ne (index . 1) "off" }}
  - topologyKey: {{ index . 0 }}
    maxSkew: 1
    whenUnsatisfiable: {{ index . 1 }}
    labelSelector:
      matchLabels:
        {{- include "postrider.selector" (list $root $component) | nindent 8 }}
    matchLabelKeys: [{{ $hash }}]
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{/* One port for each process that tells of itself: (the number of processes). */}}
{{- define "postrider.metrics-ports" -}}
{{- range $i := until (int .) }}
- name: metrics-{{ $i }}
  port: {{ add 9464 $i }}
{{- end }}
{{- end }}

{{/* Probes of a part: (dict "port" name, "spec" the values'). A database that is slow must not have a process killed. */}}
{{- define "postrider.probes" -}}
startupProbe:
  httpGet:
    path: /startupz
    port: {{ .port }}
  periodSeconds: 2
  timeoutSeconds: 4
  failureThreshold: {{ div (.spec.startSeconds | default 120 | int) 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ .port }}
  periodSeconds: 5
  timeoutSeconds: 4
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /livez
    port: {{ .port }}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
{{- end }}
