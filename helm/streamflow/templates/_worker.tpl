{{/* What the pods of workers, of the topics Job and of the test have in common. */}}

{{- define "streamflow.topologyPath" -}}
{{- if .Values.topology.files -}}/etc/streamflow/topology{{- else -}}{{ .Values.topology.path }}{{- end -}}
{{- end -}}

{{/* Whole numbers come as floats from values files; printed as such, a large one would be 1e+08. */}}
{{- define "streamflow.plain" -}}
{{- if kindIs "float64" . -}}{{ int64 . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{- define "streamflow.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.settings.http_tls_cert_file)) -}}
{{- end -}}

{{- define "streamflow.env" -}}
{{- range $name, $value := .Values.settings }}
- name: STREAMFLOW_{{ upper $name }}
  value: {{ include "streamflow.plain" $value | quote }}
{{- end }}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range .Values.secretEnv }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}
{{- end }}
{{- end -}}

{{- define "streamflow.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "streamflow.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A Service named streamflow would inject STREAMFLOW_PORT=tcp://… into our variables: hence no service links. */}}
{{- define "streamflow.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext: {{- include "streamflow.podSecurity" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "streamflow.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.topology.files }}
- {name: topology, mountPath: /etc/streamflow/topology, readOnly: true}
{{- end }}
{{- range .Values.secretFiles }}
- {name: secret-{{ .secret }}, mountPath: {{ .path }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* Takes a dictionary: root, and the name of the ConfigMap with the topology. */}}
{{- define "streamflow.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if .root.Values.topology.files }}
- name: topology
  configMap: {name: {{ .topology }}}
{{- end }}
{{- range .root.Values.secretFiles }}
- name: secret-{{ .secret }}
  secret: {secretName: {{ .secret }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{/* preStop, the worker's own deadline of a stop, and ten seconds in which that is noticed. */}}
{{- define "streamflow.graceSeconds" -}}
{{- $deadline := default 30000 .Values.settings.shutdown_deadline_ms | int64 -}}
{{- add .Values.preStopSeconds (div (add $deadline 999) 1000) 10 -}}
{{- end -}}
