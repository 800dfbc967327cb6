//! Nodes of lock-free stacks that are pushed one by one and taken all at once.
//!
//! Between a pusher's load of the head and its exchange the whole list may be taken, and freed, and another node be put at the same
//! address. The exchange then succeeds, and rightly: that node is the head now. But what the pusher linked is the address as it knew it,
//! of a node that is gone, and by the rules of provenance no more than an address. So nodes are found again by their addresses alone.

/// A node for a list.
pub(crate) fn listed<T>(node: Box<T>) -> *mut T {
    let node = Box::into_raw(node);
    node.expose_provenance();
    node
}

/// A node that was in a list.
///
/// # Safety
///
/// At this address is a node made by [`listed`], which nobody else will use.
pub(crate) unsafe fn unlisted<T>(node: *mut T) -> Box<T> {
    // SAFETY: a boxed node's address, exposed when it was made (caller).
    unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut(node.addr())) }
}
