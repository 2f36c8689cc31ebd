{{/*
The NetworkPolicy's egress rules that the configured addresses need, as {"rules": [...]}. A policy sees the pods' own
ports, which neither a Service's port nor a URL tells: where they are not known, all TCP ports of the namespace are open.
*/}}
{{- define "prom-rbac-proxy.egress" -}}
{{- $rules := dict }}
{{- $given := list }}
{{- range .Values.networkPolicy.prometheusPorts }}{{- $given = append $given (dict "port" . "protocol" "TCP") }}{{- end }}
{{- $any := list (dict "protocol" "TCP") }}
{{- range $index, $upstream := (include "prom-rbac-proxy.upstreams" . | fromYaml).upstreams }}
{{- $rule := dict }}
{{- with $upstream.service }}
{{- $known := and (eq .namespace (include "prom-rbac-proxy.prometheusNamespace" $)) (eq .name (include "prom-rbac-proxy.prometheusService" $)) }}
{{- $labels := ternary (include "prom-rbac-proxy.prometheusLabels" $ | fromYaml) dict $known }}
{{- if eq .name "prometheus-operated" }}{{- $labels = $labels | default (dict "app.kubernetes.io/name" "prometheus") }}{{- end }}
{{- $peer := include "prom-rbac-proxy.namespacePeer" .namespace | fromYaml }}
{{- if $labels }}{{- $_ := set $peer "podSelector" (dict "matchLabels" $labels) }}{{- end }}
{{- $told := and (or (eq .name "prometheus-operated") (and $known (include "prom-rbac-proxy.operated" $))) (not (kindIs "string" .port)) }}
{{- $ports := $any }}
{{- if $told }}{{- $ports = list (dict "port" (int .port) "protocol" "TCP") }}{{- end }}
{{- $rule = dict "to" (list $peer) "ports" ($given | default $ports) }}
{{- end }}
{{- with $upstream.pods }}
{{- $peer := include "prom-rbac-proxy.namespacePeer" .namespace | fromYaml }}
{{- $_ := set $peer "podSelector" (include "prom-rbac-proxy.podSelector" (list .selector (printf "config.upstreams[%d].pods.selector" $index)) | fromYaml) }}
{{- $port := .port }}
{{- if not (kindIs "string" .port) }}{{- $port = int .port }}{{- end }}
{{- $rule = dict "to" (list $peer) "ports" ($given | default (list (dict "port" $port "protocol" "TCP"))) }}
{{- end }}
{{- with $upstream.url }}
{{- $key := ternary (printf "config.upstreams[%d].url" $index) "prometheus.url" (gt (len ($.Values.config.upstreams | default list)) 0) }}
{{- $rule = include "prom-rbac-proxy.urlEgress" (list $ . ($given | default $any) $key) | fromYaml }}
{{- end }}
{{- if $rule }}{{- $_ := set $rules (toJson $rule) $rule }}{{- end }}
{{- end }}
{{- with dig "tracing" "endpoint" "" .Values.config }}
{{- $rule := include "prom-rbac-proxy.urlEgress" (list $ . $any "config.tracing.endpoint") | fromYaml }}
{{- if $rule }}{{- $_ := set $rules (toJson $rule) $rule }}{{- end }}
{{- end }}
{{- $sorted := list }}
{{- range keys $rules | sortAlpha }}{{- $sorted = append $sorted (get $rules .) }}{{- end }}
{{- dict "rules" $sorted | toYaml }}
{{- end }}

{{- define "prom-rbac-proxy.namespacePeer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ . }}
{{- end }}

{{/* The rule for a URL, or nothing where none is needed: (list $ URL PORTS KEY). */}}
{{- define "prom-rbac-proxy.urlEgress" -}}
{{- $root := index . 0 }}
{{- $url := urlParse (index . 1) }}
{{- $host := $url.hostname }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) | int }}
{{- $exact := list (dict "port" $port "protocol" "TCP") }}
{{- $inside := "" }}
{{- if regexMatch "^[a-z0-9-]+$" $host }}{{- $inside = include "prom-rbac-proxy.namespace" $root }}{{- end }}
{{- if regexMatch "^[a-z0-9-]+[.][a-z0-9-]+$" $host }}{{- $inside = last (splitList "." $host) }}{{- end }}
{{- if regexMatch "[.]svc([.]|$)" $host }}{{- $inside = last (splitList "." (regexReplaceAll "[.]svc([.].*)?$" $host "")) }}{{- end }}
{{- if or (eq $host "localhost") (hasPrefix "127." $host) (eq $host "::1") }}
{{- else if contains ":" $host }}
{{- dict "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/128" $host)))) "ports" $exact | toYaml }}
{{- else if regexMatch "^[0-9]+([.][0-9]+){3}$" $host }}
{{- dict "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/32" $host)))) "ports" $exact | toYaml }}
{{- else if $inside }}
{{- dict "to" (list (include "prom-rbac-proxy.namespacePeer" $inside | fromYaml)) "ports" (index . 2) | toYaml }}
{{- else if not (or $root.Values.networkPolicy.extraEgress (has (toString $port) (include "prom-rbac-proxy.apiServerPorts" $root | splitList " "))) }}
{{- fail (printf "%s: the NetworkPolicy would block %s, and no policy can name a host outside of the cluster: set networkPolicy.extraEgress to a rule for its addresses and port %d, or networkPolicy.enabled=false" (index . 3) $host $port) }}
{{- end }}
{{- end }}

{{- define "prom-rbac-proxy.apiServerPorts" -}}
{{- range .Values.networkPolicy.apiServerPorts }}{{ printf "%d " (int .) }}{{ end }}
{{- end }}

{{/* A label selector in kubectl's form as an object: (list SELECTOR KEY). */}}
{{- define "prom-rbac-proxy.podSelector" -}}
{{- $key := last . }}
{{- $terms := list }}
{{- range regexFindAll "[^,()]+([(][^)]*[)])?" (first .) -1 }}
{{- $term := trim . }}
{{- $name := regexFind "^!?[ ]*[A-Za-z0-9./_-]+" $term }}
{{- $rest := trimPrefix $name $term | trim }}
{{- $label := trimPrefix "!" $name | trim }}
{{- if not $label }}
{{- fail (printf "%s: %q is no term of a label selector; write such as app.kubernetes.io/name=prometheus" $key $term) }}
{{- else if regexMatch "^(in|notin)[ ]*[(]" $rest }}
{{- $values := list }}
{{- range splitList "," (regexReplaceAll "^[a-z]+[ ]*[(](.*)[)]$" $rest "${1}") }}{{- $values = append $values (trim .) }}{{- end }}
{{- $terms = append $terms (dict "key" $label "operator" (ternary "NotIn" "In" (hasPrefix "notin" $rest)) "values" $values) }}
{{- else if hasPrefix "!=" $rest }}
{{- $terms = append $terms (dict "key" $label "operator" "NotIn" "values" (list (trimPrefix "!=" $rest | trim))) }}
{{- else if hasPrefix "=" $rest }}
{{- $terms = append $terms (dict "key" $label "operator" "In" "values" (list (regexReplaceAll "^==?[ ]*" $rest ""))) }}
{{- else if $rest }}
{{- fail (printf "%s: %q is no term of a label selector; write such as app.kubernetes.io/name=prometheus" $key $term) }}
{{- else }}
{{- $terms = append $terms (dict "key" $label "operator" (ternary "DoesNotExist" "Exists" (hasPrefix "!" $name))) }}
{{- end }}
{{- end }}
{{- dict "matchExpressions" $terms | toYaml }}
{{- end }}
