{{/* The pod that sends an event to a Service of the API and waits for it at the receiver: (list $ url). */}}
{{- define "postrider.probe-pod" -}}
{{- $root := index . 0 -}}
{{- $probe := $root.Values.probe -}}
{{- $receiver := printf "http://%s:8080" $probe.receiverIP -}}
{{- include "postrider.pod" (dict
  "root" $root "component" "probe" "role" "operator" "spec" $probe "restartPolicy" "Never" "graceSeconds" 10
  "args" (list "probe" "send" "--url" (index . 1) "--receiver" $receiver "--seconds" ($probe.timeoutSeconds | toString))
) -}}
{{- end }}
