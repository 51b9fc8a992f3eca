//! What an operation needs before it can be logged: what came before it applied, memory, room on the volume.

use crate::operation::{Operation, Selection, UpdateMode};

/// Whether resolving needs everything before to be applied.
pub fn needs_state(op: &Operation) -> bool {
    match op {
        Operation::Upsert { mode, condition, .. } => *mode != UpdateMode::Upsert || condition.is_some(),
        Operation::UpdateVectors { condition, .. } => condition.is_some(),
        // What follows is checked against the configuration that they make.
        Operation::CreateVector { .. }
        | Operation::CreateSparseVector { .. }
        | Operation::DropVector { .. }
        | Operation::Freeze { .. }
        | Operation::Keep(_) => true,
        _ => matches!(op.selection(), Some(Selection::Filter(_))),
    }
}

/// Whether applying it takes memory: a point that is edited is written anew.
pub fn needs_memory(op: &Operation) -> bool {
    !matches!(
        op,
        Operation::Delete(_)
            | Operation::DropIndex { .. }
            | Operation::DropVector { .. }
            | Operation::Freeze { .. }
            | Operation::Keep(_)
    )
}

/// Whether it needs room on the volume: what takes parts away may go on without.
pub fn adds_data(op: &Operation) -> bool {
    let takes_away = matches!(
        op,
        Operation::DeleteVectors { .. } | Operation::DeletePayload { .. } | Operation::ClearPayload(_)
    );
    needs_memory(op) && !takes_away
}
