//! What a model checker does that no node may: end grants and leases at will, and read positions out of the state.

use crate::copy::{Copy, Role};
use crate::lease::{Grant, Lease};
use crate::record::CopyId;

impl Copy {
    /// The grant of this copy has run out, and so has the lease that an answer still owed would renew.
    pub fn end_grant(&mut self) {
        self.grant = Grant::default();
        if let Role::Follower(follower) = &mut self.role
            && let Some(owed) = &mut follower.owed
        {
            owed.asked = 0;
        }
    }

    /// So much time has passed that this copy trusts a grant of `of` no more.
    pub fn end_lease(&mut self, of: CopyId) {
        if let Role::Primary(primary) = &mut self.role
            && let Some(peer) = primary.peers.iter_mut().find(|p| p.id == of)
        {
            peer.lease = Lease::default();
        }
    }

    /// Whether a grant was given or assumed that hasn't been ended.
    pub fn has_granted(&self) -> bool {
        self.grant != Grant::default()
    }
}
