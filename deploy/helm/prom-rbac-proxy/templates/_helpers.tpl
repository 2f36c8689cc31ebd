{{- define "prom-rbac-proxy.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "prom-rbac-proxy.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "prom-rbac-proxy.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "prom-rbac-proxy.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* Of objects that stand beside those of other releases: without a namespace, or in Prometheus' own. */}}
{{- define "prom-rbac-proxy.clusterName" -}}
{{- .Values.clusterNameOverride | default (include "prom-rbac-proxy.fullname" .) }}
{{- end }}

{{/* Of an object in a namespace: (list $ NAMESPACE). */}}
{{- define "prom-rbac-proxy.nameIn" -}}
{{- $own := eq (last .) (include "prom-rbac-proxy.namespace" (first .)) }}
{{- include (ternary "prom-rbac-proxy.fullname" "prom-rbac-proxy.clusterName" $own) (first .) }}
{{- end }}

{{- define "prom-rbac-proxy.selectorLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/name: {{ include "prom-rbac-proxy.name" . }}
{{- end }}

{{- define "prom-rbac-proxy.labels" -}}
{{ include "prom-rbac-proxy.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of the pods of `helm test`, which no selector may meet. */}}
{{- define "prom-rbac-proxy.testLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: test
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "prom-rbac-proxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "prom-rbac-proxy.fullname" .) }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "prom-rbac-proxy.registry" -}}
{{- .Values.global.imageRegistry | default .Values.image.registry }}
{{- end }}

{{- define "prom-rbac-proxy.image" -}}
{{- $repository := .Values.image.repository }}
{{- with include "prom-rbac-proxy.registry" . }}{{- $repository = printf "%s/%s" . $repository }}{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* OpenShift gives each namespace a range of users, and refuses pods that name another. */}}
{{- define "prom-rbac-proxy.podSecurityContext" -}}
{{- $adapt := .Values.openshift.adaptSecurityContext }}
{{- $found := .Capabilities.APIVersions.Has "security.openshift.io/v1" }}
{{- if or (eq $adapt "force") (and (eq $adapt "auto") $found) }}
{{- omit .Values.podSecurityContext "runAsUser" "runAsGroup" "fsGroup" | toYaml }}
{{- else }}
{{- toYaml .Values.podSecurityContext }}
{{- end }}
{{- end }}

{{/* The right that the proxy asks about: config.authorization.attributes over the program's own default. */}}
{{- define "prom-rbac-proxy.attributes" -}}
{{- $default := dict "verb" "get" "group" "metrics.k8s.io" "resource" "pods" }}
{{- /* mergeOverwrite: the core group's name is "", which merge would take for absent. */}}
{{- mergeOverwrite $default (deepCopy (dig "authorization" "attributes" dict .Values.config)) | toYaml }}
{{- end }}

{{- define "prom-rbac-proxy.usesTls" -}}
{{- if or .Values.gateway.enabled .Values.service.tls }}true{{- end }}
{{- end }}

{{- define "prom-rbac-proxy.tlsSecret" -}}
{{- if .Values.certificate.enabled }}
{{- printf "%s-tls" (include "prom-rbac-proxy.fullname" .) }}
{{- else }}
{{- required "gateway.enabled and service.tls need a certificate: set tls.existingSecret, or certificate.enabled with certificate.issuerRef.name" .Values.tls.existingSecret }}
{{- end }}
{{- end }}

{{/* The chart's own holds its content's hash in its name: a new one never reaches pods that run with the old one. */}}
{{- define "prom-rbac-proxy.configName" -}}
{{- $own := printf "%s-%s" (include "prom-rbac-proxy.fullname" .) (include "prom-rbac-proxy.config" . | sha256sum | trunc 10) }}
{{- .Values.existingConfigMap | default $own }}
{{- end }}

{{/* Mounted beside the configuration, not in it: a volume cannot be mounted inside a read-only ConfigMap. */}}
{{- define "prom-rbac-proxy.config" -}}
{{- $tls := dict "certFile" "/etc/prom-rbac-proxy-tls/tls.crt" "keyFile" "/etc/prom-rbac-proxy-tls/tls.key" }}
{{- $service := dict "address" (printf "%s:9090" .Values.listenAddress) }}
{{- if .Values.service.tls }}{{- $_ := set $service "tls" $tls }}{{- end }}
{{- $listeners := dict "service" $service "admin" (dict "address" (printf "%s:9091" .Values.listenAddress)) }}
{{- if .Values.gateway.enabled }}
{{- $answersFor := dict "namespace" (include "prom-rbac-proxy.namespace" .) "name" (include "prom-rbac-proxy.fullname" .) "port" (.Values.service.port | int) }}
{{- $_ := set $listeners "gateway" (dict "address" (printf "%s:6443" .Values.listenAddress) "tls" $tls "answersFor" $answersFor) }}
{{- if .Values.gateway.namespaceList }}{{- $_ := set $listeners.gateway "namespaceList" true }}{{- end }}
{{- end }}
{{- $upstreams := include "prom-rbac-proxy.upstreams" . | fromYaml }}
{{- mergeOverwrite (deepCopy .Values.config) (dict "listeners" $listeners) $upstreams | toYaml }}
{{- end }}

{{/* The path by which Headlamp's browser side reaches the proxy through Headlamp's host. */}}
{{- define "prom-rbac-proxy.headlampPath" -}}
{{- printf "%s/clusters/%s/api/v1/namespaces/%s/services/%s:%v/proxy/" (.Values.headlamp.baseURL | trimSuffix "/") .Values.headlamp.cluster (include "prom-rbac-proxy.namespace" .) (include "prom-rbac-proxy.fullname" .) .Values.service.port }}
{{- end }}
