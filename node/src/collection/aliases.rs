//! Other names of collections. The changes of one request apply in order, and all together.

use quiver_api::collections::{AliasAction, AliasDescription};

use super::registry::Names;
use crate::error::{ApiError, Result};

/// Applies one request's changes.
pub fn apply(names: &mut Names, actions: Vec<AliasAction>) -> Result<()> {
    for action in actions {
        match action {
            AliasAction::CreateAlias { collection_name, alias_name } => {
                if !names.collections.contains_key(&collection_name) {
                    return Err(ApiError::no_collection(&collection_name));
                }
                refuse_taken(names, &alias_name)?;
                names.aliases.insert(alias_name, collection_name);
            }
            AliasAction::DeleteAlias { alias_name } => drop(names.aliases.remove(&alias_name)),
            AliasAction::RenameAlias { old_alias_name, new_alias_name } => {
                refuse_taken(names, &new_alias_name)?;
                let to = names.aliases.remove(&old_alias_name);
                let to = to
                    .ok_or_else(|| ApiError::not_found(format!("Alias {old_alias_name} does not exists!")))?;
                names.aliases.insert(new_alias_name, to);
            }
        }
    }
    Ok(())
}

fn refuse_taken(names: &Names, alias: &str) -> Result<()> {
    if names.collections.contains_key(alias) {
        return Err(ApiError::exists(format!("Collection `{alias}` already exists!")));
    }
    Ok(())
}

/// All aliases, or those of one collection.
pub fn list(names: &Names, of: Option<&str>) -> Vec<AliasDescription> {
    let all = names.aliases.iter().filter(|(_, to)| of.is_none_or(|of| of == to.as_str()));
    all.map(|(alias, to)| AliasDescription { alias_name: alias.clone(), collection_name: to.clone() })
        .collect()
}
