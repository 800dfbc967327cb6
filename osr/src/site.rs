//! What a lowering declares: where its function can be entered, and where it can be left.

use std::collections::{HashMap, HashSet};

use cranelift_codegen::ir::{Block, Function, Value, types::I64};

use crate::{OsrError, flow::Flow};

/// Everything one lowering declared about the function it made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sites {
    /// Loop headers, in any order.
    pub sites: Vec<Site>,
    /// Blocks through which the code may leave.
    pub leaves: Vec<Leave>,
    /// Where the results are, if there are two or more.
    pub wide: Option<WideResults>,
    /// The body leaves for good where something does not hold, so calls get to the sites that have done what it never does: a value
    /// that it has before a loop need not be what such a call has in the slot. Then a site's slots have to be parameters of
    /// its header, one each.
    pub assumes: bool,
}

/// A loop header at which the function can be entered.
///
/// An embedder numbers them densely and in preorder, so that an outer loop's id is below its inner loops'. The transform does
/// not depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its number.
    pub id: u32,
    /// The block.
    pub header: Block,
    /// The frame there: what each slot holds, as a value that may be used in `header`.
    pub live: Vec<(u32, Value)>,
    /// Values of the lowering's own that are live in `header` and in no slot, each with one that says how to compute it at an
    /// entry: the lowering vouches that doing so is right, even if that means to read memory again.
    pub computed: Vec<(Value, Value)>,
}

/// A block through which the body leaves, to be carried on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    /// The block. In a variant its instructions are replaced: the slots are stored, the status is returned.
    pub block: Block,
    /// What a variant returns: the [id](Site::id) of the site to carry on at, or another number that its drivers understand.
    pub status: u32,
    /// The slots there, as values that may be used in `block`.
    pub live: Vec<(u32, Value)>,
    /// Where a variant stores them.
    pub to: SlotBuffer,
}

/// Where a variant's slots are when it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotBuffer {
    /// In the frame it was entered with.
    Frame,
    /// In a buffer whose address is this many bytes into what the first word of the vmctx points at.
    Thread(i32),
}

/// Two or more results: the body stores them to a buffer, 8 bytes each, and returns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WideResults {
    /// How many.
    pub count: u32,
    /// Where the buffer's address is: this many bytes into what the first word of the vmctx points at.
    pub buffer: i32,
}

impl Sites {
    /// The site of that id.
    ///
    /// # Errors
    ///
    /// [`OsrError::UnknownSite`].
    pub fn find(&self, id: u32) -> Result<&Site, OsrError> {
        self.sites.iter().find(|site| site.id == id).ok_or(OsrError::UnknownSite { site: id })
    }

    /// Whether the declarations are about `body`.
    pub(crate) fn check(&self, body: &Function) -> Result<(), OsrError> {
        let signature = &body.signature;
        let begins_with_prefix = signature.params.iter().take(2).filter(|param| param.value_type == I64).count() == 2;
        if !begins_with_prefix || signature.returns.len() > 1 {
            return Err(OsrError::Signature { signature: signature.to_string() });
        }
        let mut ids = HashMap::new();
        for site in &self.sites {
            if ids.insert(site.id, ()).is_some() {
                return Err(OsrError::DuplicateSite { site: site.id });
            }
            self.check_block(body, site.id, site.header)?;
            let computed = site.computed.iter().flat_map(|&(value, recipe)| [value, recipe]);
            exist(body, site.id, site.live.iter().map(|&(_, value)| value).chain(computed))?;
        }
        for leave in &self.leaves {
            self.check_block(body, leave.status, leave.block)?;
            exist(body, leave.status, leave.live.iter().map(|&(_, value)| value))?;
        }
        Ok(())
    }

    /// Whether the values declared for entering at `site`, and for leaving, are there.
    pub(crate) fn check_values(&self, flow: &Flow<'_>, site: &Site) -> Result<(), OsrError> {
        let entered = [(site.id, site.header, &site.live)];
        let left = self.leaves.iter().map(|leave| (leave.status, leave.block, &leave.live));
        for (site, block, live) in entered.into_iter().chain(left).filter(|&(_, block, _)| flow.is_reachable(block)) {
            let is_missing = |&value: &Value| !flow.is_available(flow.body.dfg.resolve_aliases(value), block);
            if let Some(value) = live.iter().map(|&(_, value)| value).find(is_missing) {
                return Err(OsrError::NoSuchValue { site, value });
            }
        }
        Ok(())
    }

    /// Whether everything that a call has in its frame at `site` can differ from what the body would have brought there.
    pub(crate) fn check_frame(&self, flow: &Flow<'_>, site: &Site) -> Result<(), OsrError> {
        let dfg = &flow.body.dfg;
        let mut free: HashSet<Value> = dfg.block_params(site.header).iter().copied().collect();
        match site.live.iter().find(|&&(_, value)| self.assumes && !free.remove(&dfg.resolve_aliases(value))) {
            Some(&(slot, value)) => Err(OsrError::Assumed { site: site.id, slot, value }),
            None => Ok(()),
        }
    }

    fn check_block(&self, body: &Function, site: u32, block: Block) -> Result<(), OsrError> {
        let is_entry = body.layout.entry_block() == Some(block);
        match body.dfg.block_is_valid(block) && body.layout.is_block_inserted(block) && !is_entry {
            true => Ok(()),
            false => Err(OsrError::NoSuchBlock { site, block }),
        }
    }
}

fn exist(body: &Function, site: u32, values: impl Iterator<Item = Value>) -> Result<(), OsrError> {
    match { values }.find(|&value| !is_there(body, value)) {
        None => Ok(()),
        Some(value) => Err(OsrError::NoSuchValue { site, value }),
    }
}

/// Whether a value, or what it has become an alias of, belongs to an instruction or a block. (The frontend gives a header a
/// parameter for each variable used there, and makes it an alias if there turns out to be one value only.)
fn is_there(body: &Function, mut value: Value) -> bool {
    let dfg = &body.dfg;
    // Aliases can lead in a circle, and to values that were removed: nothing but this has looked at them.
    for _ in 0..=dfg.num_values() {
        if !dfg.value_is_valid(value) {
            return false;
        }
        match dfg.value_alias_dest_for_serialization(value) {
            Some(original) => value = original,
            None => return dfg.value_is_attached(value),
        }
    }
    false
}
