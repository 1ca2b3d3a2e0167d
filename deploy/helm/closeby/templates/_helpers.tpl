{{- define "closeby.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "closeby.selectorLabels" -}}
{{- if .Values.selectorLabels -}}
{{- toYaml .Values.selectorLabels -}}
{{- else -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- end -}}

{{- define "closeby.podLabels" -}}
{{- toYaml (merge (include "closeby.selectorLabels" . | fromYaml) .Values.podLabels) -}}
{{- end -}}

{{- define "closeby.labels" -}}
{{- $more := dict "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- toYaml (merge $more (include "closeby.selectorLabels" . | fromYaml)) -}}
{{- end -}}

{{- define "closeby.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "closeby.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "closeby.name" .) -}}
{{- end -}}

{{- define "closeby.configMap" -}}
{{- .Values.existingConfigMap | default (include "closeby.name" .) -}}
{{- end -}}

{{- /* An address and a port; an IPv6 address takes brackets. */ -}}
{{- define "closeby.listen" -}}
{{- if contains ":" .address -}}[{{ .address }}]{{- else -}}{{ .address }}{{- end -}}:{{ .port }}
{{- end -}}

{{- define "closeby.isLoopback" -}}
{{- if or (hasPrefix "127." .) (eq . "::1") -}}yes{{- end -}}
{{- end -}}

{{- /* What cannot work, said before anything is made. */ -}}
{{- define "closeby.check" -}}
{{- $api := .Values.apiServer -}}
{{- if and (not $api.host) (not $api.configMap) (not .Values.existingConfigMap) -}}
{{- fail "apiServer.host is required: an address or a name of the API server that does not depend on Services, such as what `kubectl cluster-info` prints; not the ClusterIP of the Service `kubernetes`, whose rules the agent writes" -}}
{{- end -}}
{{- if hasSuffix ".svc" (trimSuffix ".cluster.local" $api.host) -}}
{{- fail (printf "apiServer.host is the name of a Service (%s), and the agent cannot follow the rules that it has yet to write: give an address of the API server itself" $api.host) -}}
{{- end -}}
{{- if and .Values.kubeProxyCleanup.enabled (not .Values.kubeProxyCleanup.image) -}}
{{- fail "kubeProxyCleanup.image is required: the image of the kube-proxy that ran here, such as registry.k8s.io/kube-proxy:v1.36.3" -}}
{{- end -}}
{{- if and .Values.shadow (or .Values.serviceProxyName .Values.kubeProxyCleanup.enabled) -}}
{{- fail "shadow compares with the kube-proxy that serves all Services: neither serviceProxyName nor kubeProxyCleanup goes with it" -}}
{{- end -}}
{{- if and .Values.shadow .Values.startupTaint -}}
{{- fail "shadow serves nobody, so there is no startupTaint to remove: leave one of them out" -}}
{{- end -}}
{{- $monitored := or .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled -}}
{{- if and $monitored (include "closeby.isLoopback" .Values.metrics.address) -}}
{{- fail "metrics.address is a loopback address, where no monitor reaches it: set it to 0.0.0.0, or to [::] as `::`" -}}
{{- end -}}
{{- end -}}

{{- /* Which nodes. */ -}}
{{- define "closeby.placement" -}}
nodeSelector:
  {{- toYaml .Values.nodeSelector | nindent 2 }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
tolerations:
  {{- toYaml .Values.tolerations | nindent 2 }}
{{- end -}}

{{- /* Asks the agent; takes the values and a path. */ -}}
{{- define "closeby.probe" -}}
{{- $address := (index . 0).Values.healthz.address -}}
httpGet:
  {{- if include "closeby.isLoopback" $address }}
  host: {{ $address | quote }}
  {{- end }}
  path: {{ index . 1 }}
  port: healthz
{{- end -}}
