//! Other names of collections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::validate::Invalid;

/// Body of POST `/collections/aliases`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ChangeAliases {
    pub actions: Vec<AliasAction>,
}

/// One change of aliases; those of one request apply in order and all together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AliasAction {
    CreateAlias { collection_name: String, alias_name: String },
    DeleteAlias { alias_name: String },
    RenameAlias { old_alias_name: String, new_alias_name: String },
}

impl ChangeAliases {
    /// What is out of range; `wrong` says what is wrong with a name that an alias is to have.
    pub fn validate(&self, wrong: impl Fn(&str) -> Option<String>) -> Result<(), Invalid> {
        let mut invalid = Invalid::new();
        for (i, action) in self.actions.iter().enumerate() {
            let (field, name) = match action {
                AliasAction::CreateAlias { alias_name, .. } => ("create_alias.alias_name", alias_name),
                AliasAction::RenameAlias { new_alias_name, .. } => {
                    ("rename_alias.new_alias_name", new_alias_name)
                }
                AliasAction::DeleteAlias { .. } => continue,
            };
            if let Some(text) = wrong(name) {
                invalid.add(format!("actions[{i}].{field}"), text);
            }
        }
        invalid.done()
    }
}

/// An alias in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AliasDescription {
    pub alias_name: String,
    pub collection_name: String,
}
