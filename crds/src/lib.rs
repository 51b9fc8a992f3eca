//! The Kubernetes kinds of Quiver. No client, no async: types, CEL rules and their YAML.
