{{/* Names: with "-" and a hash of ten behind them they fit into a label of 63 characters. */}}
{{- define "streamflow.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "streamflow.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "streamflow.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Neither versions nor anything else that changes: selectors cannot be changed, and pods would restart. */}}
{{- define "streamflow.selector" -}}
app.kubernetes.io/name: streamflow
app.kubernetes.io/instance: {{ include "streamflow.name" . }}
{{- end -}}

{{- define "streamflow.labels" -}}
{{ include "streamflow.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
streamflow/topology: {{ .Values.topology.name }}
{{- end -}}

{{- define "streamflow.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}
