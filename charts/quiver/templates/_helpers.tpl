{{- define "quiver.name" -}}
{{- .Values.nameOverride | default "quiver-operator" | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Cluster-wide names carry the release's namespace: two installations never share rights. */}}
{{- define "quiver.clusterName" -}}
{{- printf "%s-%s" (include "quiver.name" .) .Release.Namespace | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "quiver.selector" -}}
app.kubernetes.io/name: quiver-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "quiver.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "quiver.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: quiver
{{- end }}

{{- define "quiver.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "quiver.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "quiver.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ $tag }}{{ end }}
{{- end }}

{{- define "quiver.nodeImage" -}}
{{- .Values.defaults.nodeImage | default (printf "ghcr.io/quiver-dev/quiver-node:%s" .Chart.AppVersion) }}
{{- end }}

{{- define "quiver.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "quiver.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What the operator does in every namespace that it watches, verb by verb. */}}
{{- define "quiver.rules" -}}
- apiGroups: [quiver.dev]
  resources: [vectorcollections]
  verbs: [get, list, watch]
- apiGroups: [quiver.dev]
  resources: [vectorcollections/status, vectorshards/status, vectorsnapshots/status]
  verbs: [patch]
# `update` is handed on to the nodes, which take the lead of their own shards themselves.
- apiGroups: [quiver.dev]
  resources: [vectorshards]
  verbs: [get, list, watch, create, update]
- apiGroups: [quiver.dev]
  resources: [vectorsnapshots]
  verbs: [get, list, watch, create, patch, delete]
# A snapshot whose namespace goes doesn't wait for its objects. In a Role this is the right to its own namespace.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch]
# The peers' certificate is written; what collections refer to is only looked for. Never listed, never watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update]
# Listed to see which nodes live; the other rights are handed on to the nodes, which renew one Lease each.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
