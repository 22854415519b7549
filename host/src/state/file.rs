//! The form of a state file.
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `REPLUG STATE 1\n` and a zero |
//! | 32 | BLAKE3 of all that follows |
//! | 4 | the schema, little-endian |
//! | 4 | the length of the owner |
//! | 8 | the length of the state |
//! | | the owner, the state |
//!
//! The owner is the artifact's path; of a worker's state, a zero and the worker's number follow.

use bytes::Bytes;

use super::Owner;
use crate::loader::Snapshot;

const MAGIC: &[u8; 16] = b"REPLUG STATE 1\n\0";
const HASH: usize = 32;
const HEAD: usize = MAGIC.len() + HASH;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Whole(Snapshot),
    Damaged(&'static str),
}

pub(super) fn encode(owner: &Owner, snapshot: &Snapshot) -> Vec<u8> {
    let path = owner.to_bytes();
    let mut out = vec![0; HEAD];
    out[..MAGIC.len()].copy_from_slice(MAGIC);
    out.extend(snapshot.schema.to_le_bytes());
    // Paths have 4,096 bytes at the most.
    out.extend((path.len() as u32).to_le_bytes());
    out.extend((snapshot.bytes.len() as u64).to_le_bytes());
    out.extend(&path);
    out.extend(&snapshot.bytes);
    let hash = blake3::hash(&out[HEAD..]);
    out[MAGIC.len()..HEAD].copy_from_slice(hash.as_bytes());
    out
}

pub(super) fn decode(bytes: &[u8], owner: &Owner) -> Found {
    let Some((magic, rest)) = bytes.split_first_chunk::<16>() else {
        return Found::Damaged("it is cut short");
    };
    if magic != MAGIC {
        return Found::Damaged("it is no state file of this version");
    }
    let Some((hash, body)) = rest.split_first_chunk::<HASH>() else {
        return Found::Damaged("it is cut short");
    };
    if blake3::hash(body) != *hash {
        return Found::Damaged("its hash does not match");
    }
    let parts = || {
        let (schema, rest) = body.split_first_chunk::<4>()?;
        let (path, rest) = rest.split_first_chunk::<4>()?;
        let (state, rest) = rest.split_first_chunk::<8>()?;
        let path_len = usize::try_from(u32::from_le_bytes(*path)).ok()?;
        let state_len = usize::try_from(u64::from_le_bytes(*state)).ok()?;
        let (path, state) = rest.split_at_checked(path_len)?;
        (state.len() == state_len).then_some((u32::from_le_bytes(*schema), path, state))
    };
    match parts() {
        None => Found::Damaged("its lengths do not fit"),
        Some((_, path, _)) if path != owner.to_bytes() => Found::Damaged("it is another app's"),
        Some((schema, _, state)) => Found::Whole(Snapshot {
            schema,
            bytes: Bytes::copy_from_slice(state),
        }),
    }
}
