{{/* The head of a workload, as far as it is the same for all: (list $ component replicas autoscaled). */}}
{{- define "postrider.workload-head" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
metadata:
  name: {{ include "postrider.name" (list $root $component) }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "postrider.labels" (list $root $component) | nindent 4 }}
{{- end }}

{{/* Kubernetes' own way: for development, and for clusters without Argo Rollouts. */}}
{{- define "postrider.rolling" -}}
progressDeadlineSeconds: 600
minReadySeconds: {{ .Values.rollouts.readySeconds }}
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxSurge: {{ toJson .Values.rollouts.maxSurge }}
    maxUnavailable: 0
{{- end }}

{{/* What every Rollout is held to: a release that is late is taken back as one that is bad. */}}
{{- define "postrider.rollout-limits" -}}
progressDeadlineSeconds: {{ .Values.rollouts.deadlineSeconds }}
minReadySeconds: {{ .Values.rollouts.readySeconds }}
progressDeadlineAbort: true
rollbackWindow:
  revisions: 3
{{- end }}

{{/* The analysis of a canary: (list $ (list of templates) startingStep). */}}
{{- define "postrider.analysis" -}}
{{- $root := index . 0 -}}
templates:
  {{- range index . 1 }}
  - templateName: {{ include "postrider.name" (list $root .) }}
  {{- end }}
args:
  - name: latest
    valueFrom:
      podTemplateHashValue: Latest
  - name: stable
    valueFrom:
      podTemplateHashValue: Stable
{{- end }}

{{/* The step of a canary in which an event is sent through it; nothing without a probe. */}}
{{- define "postrider.smoke-step" -}}
{{- if .Values.probe.enabled -}}
- analysis:
    templates:
      - templateName: {{ include "postrider.name" (list . "smoke") }}
    args:
      - name: service
        value: {{ include "postrider.name" (list . "api-canary") }}
{{- end -}}
{{- end }}
