{{/* Name of everything that the chart installs. */}}
{{- define "millstream.name" -}}
{{- if contains "millstream" .Release.Name -}}
{{ .Release.Name | trunc 45 | trimSuffix "-" }}-operator
{{- else -}}
{{ printf "%s-millstream" .Release.Name | trunc 45 | trimSuffix "-" }}-operator
{{- end -}}
{{- end }}

{{/* Labels that select the operator's pods; they never change. */}}
{{- define "millstream.selector" -}}
app.kubernetes.io/name: millstream-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "millstream.labels" -}}
{{ include "millstream.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/*
What the operator may do with objects of a namespace. Each verb is used: see the integration tests,
in which the operator runs with exactly these rights.
*/}}
{{- define "millstream.rules" -}}
- apiGroups: [millstream.dev]
  resources: [rectrainings, recservings]
  verbs: [get, list, watch]
- apiGroups: [millstream.dev]
  resources: [rectrainings/status, recservings/status]
  verbs: [patch]
# To be named as an owner that children wait for.
- apiGroups: [millstream.dev]
  resources: [rectrainings/finalizers, recservings/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [serviceaccounts, configmaps, services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Servers get the right to follow their own release, which the operator has itself.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The credentials of a store, one Secret at a time.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
