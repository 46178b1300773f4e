{{- define "conngate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "conngate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "conngate.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "conngate.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "conngate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "conngate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "conngate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "conngate.selectorLabels" . }}
app.kubernetes.io/component: agent
app.kubernetes.io/part-of: conngate
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "conngate.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "conngate.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "conngate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "conngate.hasService" -}}
{{- if or .Values.service.enabled .Values.serviceMonitor.enabled }}yes{{ end }}
{{- end }}

{{- /* Where the agent listens. In the node's network on loopback alone, unless the chart has somebody ask from elsewhere. */}}
{{- define "conngate.address" -}}
{{- if .Values.listen.address -}}
{{ .Values.listen.address }}
{{- else if not .Values.hostNetwork -}}
::
{{- else if or (include "conngate.hasService" .) .Values.podMonitor.enabled -}}
$(HOST_IP)
{{- else -}}
127.0.0.1
{{- end }}
{{- end }}

{{- /* What every probe asks: a dictionary of root, path and probe. */}}
{{- define "conngate.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  {{- $address := include "conngate.address" .root }}
  {{- if or (hasPrefix "127." $address) (eq $address "::1") }}
  host: {{ $address | quote }}
  {{- end }}
{{ toYaml .probe }}
{{- end }}

{{- /* The pod of `helm test` is none of the agents: no selector of theirs may find it. */}}
{{- define "conngate.testLabels" -}}
app.kubernetes.io/name: {{ include "conngate.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The fields of a monitor's endpoint, of a monitor's values. */}}
{{- define "conngate.endpoint" -}}
port: http
path: /metrics
# Where a series has the labels namespace and pod, they are the gated pod's: they win over the agent's.
honorLabels: true
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The capabilities, and what each is for. */}}
{{- define "conngate.capabilities" -}}
- BPF # load programs, make maps
- PERFMON # let the verifier accept reads of kernel memory
- NET_ADMIN # attach to cgroups; end a held connection (SOCK_DESTROY)
- NET_RAW # send a held SYN again
- SETUID # as the user that connected
- SETGID # and its group
- SYS_ADMIN # setns into a pod's network namespace
- SYS_PTRACE # read /proc/<pid>/ns/net and mountinfo of other users' processes
{{- if .Values.capabilities.sysResource }}
- SYS_RESOURCE # raise RLIMIT_MEMLOCK, which kernels before 5.11 count maps against
{{- end }}
{{- end }}
