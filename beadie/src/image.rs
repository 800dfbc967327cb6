//! What a bead's code word leads to, and what keeps it.
//!
//! The broker publishes an *image*; it says what the code is now. Compiling installs a new image; swapping code puts another
//! [`Artifact`] into the one that is published. An artifact never changes, so that its entry, its OSR entries and its generation
//! belong together whoever looks:
//!
//! ```text
//! code word ──► face ──► Image ──► Artifact { code, osr, generation, tier }
//! ```
//!
//! Images and artifacts live as long as their bead, because nobody can say who still has looked one up; that is some hundred bytes for each
//! time a bead is compiled or swapped. The code is treated alike.

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::osr::OsrTable;

/// One piece of code and all that is known of it.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) code: NonNull<()>,
    pub(crate) osr: OsrTable,
    /// How often the code has been replaced since it was first compiled.
    pub(crate) generation: u64,
    /// Which of its adapter's tiers it is of, from 0.
    pub(crate) tier: usize,
}

// SAFETY: `code` is an address, which nobody here follows.
unsafe impl Send for Artifact {}
// SAFETY: as above.
unsafe impl Sync for Artifact {}

/// What the broker takes for a unit's entry. Nobody calls it: drivers read it.
#[derive(Debug)]
pub(crate) struct Image {
    now: AtomicPtr<Artifact>,
}

impl Image {
    #[inline(always)]
    pub(crate) fn now(&self) -> &Artifact {
        // Ordering: Acquire. Pairs with: Release in `Archive::swap`. Carries: the artifact.
        let artifact = self.now.load(Ordering::Acquire);
        // SAFETY: never null, and kept by the archive that keeps the image.
        unsafe { &*artifact }
    }
}

/// A pointer that an archive made and keeps.
#[derive(Debug)]
struct Kept<T>(NonNull<T>);

impl<T> Kept<T> {
    fn new(value: T) -> Self {
        Kept(NonNull::from(Box::leak(Box::new(value))))
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: leaked in `new`, freed once, here: when the bead goes, whose references are all there are.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// All images of one bead, and the code that is the bead's to dispose of.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    images: Vec<Kept<Image>>,
    artifacts: Vec<Kept<Artifact>>,
    codes: Vec<NonNull<()>>,
    /// The image of the latest first-tier compile.
    baseline: Option<NonNull<Image>>,
}

// SAFETY: the images and artifacts are the archive's own; the codes are addresses.
unsafe impl Send for Archive {}

impl Archive {
    /// An image of code that is about to be installed.
    pub(crate) fn add(&mut self, artifact: Artifact) -> NonNull<Image> {
        let tier = artifact.tier;
        let now = AtomicPtr::new(self.keep(artifact).as_ptr());
        let image = Kept::new(Image { now });
        let address = image.0;
        self.images.push(image);
        if tier == 0 {
            self.baseline = Some(address);
        }
        address
    }

    fn keep(&mut self, artifact: Artifact) -> NonNull<Artifact> {
        if !self.codes.contains(&artifact.code) {
            self.codes.push(artifact.code);
        }
        let artifact = Kept::new(artifact);
        let address = artifact.0;
        self.artifacts.push(artifact);
        address
    }

    /// Puts other code into an image of this archive; what it replaces is the caller's again. The caller holds the archive's lock,
    /// so nobody swaps meanwhile.
    pub(crate) fn swap(&mut self, image: &Image, next: impl FnOnce(&Artifact) -> Artifact) -> NonNull<()> {
        let old = image.now();
        let artifact = self.keep(next(old));
        // Ordering: Release. Pairs with: Acquire in `Image::now`. Carries: the artifact.
        image.now.store(artifact.as_ptr(), Ordering::Release);
        let replaced = old.code;
        // SAFETY: kept since the line before the store.
        if replaced != unsafe { artifact.as_ref() }.code {
            self.codes.retain(|&code| code != replaced);
        }
        replaced
    }

    /// The image of the latest first-tier compile.
    pub(crate) fn baseline(&self) -> Option<NonNull<Image>> {
        self.baseline
    }

    /// The code that was not handed back.
    pub(crate) fn codes(&self) -> &[NonNull<()>] {
        &self.codes
    }
}
