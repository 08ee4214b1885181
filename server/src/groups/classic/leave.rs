//! LeaveGroup: members go, and those who stay share what they had.

use super::group::ClassicGroup;
use crate::groups::turn::Turn;
use crate::protocol::ErrorCode;
use crate::protocol::leave_group::{MemberIdentity, MemberResponse};

impl ClassicGroup {
    /// Members leave; what became of each.
    pub(in crate::groups) fn leave(&mut self, turn: &mut Turn<'_>, members: &[MemberIdentity]) -> Vec<MemberResponse> {
        let mut left = false;
        let mut responses = Vec::with_capacity(members.len());
        for member in members {
            let error_code = self.leave_one(turn, member).err().unwrap_or_default();
            left |= !error_code.is_error();
            responses.push(MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code,
            });
        }
        if left {
            self.after_removal(turn);
        }
        responses
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, identity: &MemberIdentity) -> Result<(), ErrorCode> {
        let id = match &identity.group_instance_id {
            // An operator removes a static member by its name alone.
            Some(instance) if identity.member_id.is_empty() => {
                self.static_members.get(instance).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?.clone()
            }
            _ if self.pending.contains(&identity.member_id) => identity.member_id.clone(),
            instance => self.member(&identity.member_id, instance.as_ref())?.id.clone(),
        };
        self.remove(turn, &id);
        Ok(())
    }
}
