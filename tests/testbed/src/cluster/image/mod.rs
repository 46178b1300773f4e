//! Container images, written as docker archives.
//!
//! Knows nothing of registries, and of nothing that a `FROM` would need: an image is a list of layers and a command.

mod archive;
mod layer;

pub use self::{archive::write, layer::Layer};

/// An image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Its full name, such as `conngate.test/app:1`.
    pub reference: String,
    /// From the lowest.
    pub layers: Vec<Layer>,
    /// What a container runs when it is told nothing else.
    pub entrypoint: Vec<String>,
    /// `uid` or `uid:gid`; root when empty.
    pub user: String,
}

impl Image {
    /// An image of `layers` that runs `entrypoint` as root.
    #[must_use]
    pub fn new(reference: &str, layers: &[&Layer], entrypoint: &[&str]) -> Self {
        Self {
            reference: reference.to_owned(),
            layers: layers.iter().map(|layer| (*layer).clone()).collect(),
            entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
            user: String::new(),
        }
    }

    /// As user and group `id`.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        self.user = format!("{id}:{id}");
        self
    }
}
