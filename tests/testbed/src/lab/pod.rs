//! A pod-like network namespace whose only way out leads to an upstream namespace.
//!
//! Knows nothing of Kubernetes, proxies or what listens at the other end. Addresses are of the documentation ranges
//! (RFC 5737, RFC 3849); each pair of namespaces uses the same ones, they never meet.

use std::ops::Deref;

use anyhow::{Context, Result};

use super::{
    namespace::Namespace,
    redirect::{self, Redirect},
    upstream::Upstream,
};

/// The pod's own IPv4 address.
pub const POD_V4: &str = "192.0.2.2";
/// The pod's own IPv6 address.
pub const POD_V6: &str = "2001:db8:1::2";

/// A pod's namespace, connected to its upstream's. All of [`Namespace`] is there too.
#[derive(Debug)]
pub struct Pod {
    namespace: Namespace,
}

impl Pod {
    /// Makes a namespace and a veth pair into `upstream`'s, with default routes for IPv4 and IPv6.
    pub fn new(upstream: &Upstream) -> Result<Self> {
        let namespace = Namespace::new()?;
        let far = upstream.namespace();
        // nodad: an address that is still tentative cannot be connected from.
        namespace
            .ip(&format!(
                "link add eth0 type veth peer name eth0 netns {}\n\
                 addr add {POD_V4}/24 dev eth0\n\
                 addr add {POD_V6}/64 dev eth0 nodad\n\
                 link set eth0 up",
                far.path().display()
            ))
            .context("cannot connect the pod")?;
        far.ip("addr add 192.0.2.1/24 dev eth0\n\
                addr add 2001:db8:1::1/64 dev eth0 nodad\n\
                link set eth0 up")?;
        namespace.ip("route add default via 192.0.2.1\nroute add ::/0 via 2001:db8:1::1")?;
        Ok(Self { namespace })
    }

    /// Makes a namespace with the rules of the mesh, whose way out leads nowhere.
    pub fn alone() -> Result<Self> {
        let namespace = Namespace::new()?;
        // Not by way of lo: what leaves there the mesh does not capture.
        namespace.ip(&format!(
            "link add eth0 type veth peer name far\naddr add {POD_V4}/24 dev eth0\n\
             link set eth0 up\nlink set far up\nroute add default via 192.0.2.1"
        ))?;
        Redirect::default().install(&namespace)?;
        Ok(Self { namespace })
    }

    /// Installs the rules of the mesh.
    pub fn redirect(&self, redirect: &Redirect) -> Result<()> {
        redirect.install(&self.namespace)
    }

    /// Installs the rules of a mesh that captures DNS, after its others.
    pub fn redirect_dns(&self) -> Result<()> {
        redirect::install_dns(&self.namespace)
    }
}

impl Deref for Pod {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
