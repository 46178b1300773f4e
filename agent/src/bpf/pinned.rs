//! What outlives the agent: which pinned maps can be used again, and the pins of what is loaded and attached.
//!
//! A pin that is missing, wrong or refused is made again by [`Loaded::pin`], which is called again and again: a BPF file
//! system that comes late, or is mended, is used from then on.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::maps::{MapInfo, MapType};
use aya_obj::{Map, generated::bpf_map_type};

use super::{
    load::Loaded,
    object::Object,
    pins::{self, MAPS, Pins, is_pin},
};
use crate::errors::error_chain;

/// What makes two maps the same to programs and to the agent.
#[derive(Debug, PartialEq)]
struct Definition {
    kind: Option<MapType>,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

impl Definition {
    /// As the object has it; `ring_buffer`: bytes of the ring buffer, where they are not the object's.
    fn wanted(map: &Map, ring_buffer: Option<u32>) -> Self {
        let kind = bpf_map_type::try_from(map.map_type()).ok().and_then(|kind| kind.try_into().ok());
        let (value, entries) = if kind == Some(MapType::RingBuf) {
            // It has no values, whatever its records are.
            (0, ring_buffer.unwrap_or(map.max_entries()))
        } else {
            (map.value_size(), map.max_entries())
        };
        Self { kind, key: map.key_size(), value, entries, flags: map.map_flags() }
    }

    /// As the kernel has the one that is pinned at `path`.
    fn found(path: &Path) -> io::Result<Self> {
        let info = MapInfo::from_pin(path).map_err(io::Error::other)?;
        let (key, value, entries, flags) = (info.key_size(), info.value_size(), info.max_entries(), info.map_flags());
        Ok(Self { kind: info.map_type().ok(), key, value, entries, flags })
    }
}

/// The pinned maps that are as `object` and `ring_buffer` want them, and where. The others are replaced.
pub(super) fn usable(object: &Object, ring_buffer: Option<u32>, pins: &Pins) -> BTreeMap<&'static str, PathBuf> {
    // What cannot be parsed cannot be loaded either, and is an error there.
    let Ok(object) = aya_obj::Object::parse(object.bytes()) else { return BTreeMap::new() };
    let usable = |name: &'static str| {
        let (path, map) = (pins.map(name), object.maps.get(name)?);
        let wanted = Definition::wanted(map, ring_buffer);
        let found = match is_pin(&path).and_then(|there| there.then(|| Definition::found(&path)).transpose()) {
            Ok(None) => return None,
            Ok(Some(found)) if found == wanted => return Some((name, path)),
            Ok(Some(found)) => format!("{found:?}"),
            Err(error) => error_chain(&error),
        };
        tracing::warn!(path = %path.display(), found, ?wanted, "replacing a pinned map that differs from the wanted one");
        None
    };
    MAPS.into_iter().filter_map(usable).collect()
}

impl Loaded {
    /// Pins what is to outlive this process and is not pinned yet, in the place of what is there, and removes what nobody
    /// needs any longer. Returns what cannot be had, and why; it can be tried again.
    pub fn pin(&mut self) -> Option<String> {
        let Some(pins) = &self.pins else {
            match Pins::open(self.bpffs.as_ref()?) {
                Ok(pins) => self.pins = Some(pins),
                Err(error) => return Some(format!("nothing is pinned: {}", error_chain(&error))),
            }
            return self.pin();
        };
        let mut lacks = Vec::new();
        let mut is_pinned = |object: &dyn AsFd, path: &Path| {
            let pinned = pins::pin(object.as_fd(), path);
            lacks.extend(pinned.as_ref().err().map(|error| format!("cannot pin {}: {error}", path.display())));
            pinned.is_ok()
        };
        self.unpinned.retain(|(name, map)| !is_pinned(map, &pins.map(name)));
        self.links.retain(|(name, link)| !is_pinned(link, &pins.link(*name)));
        for (gate, unpinned) in &mut self.datagrams {
            unpinned.take_if(|link| is_pinned(link, &pins.datagrams(*gate)));
        }
        for path in self.stale_datagrams(pins).map(|gate| pins.datagrams(gate)) {
            lacks.extend(pins::remove(&path).err().map(|error| format!("cannot remove {}: {error}", path.display())));
        }
        lacks.extend(pins.remove_others().err().map(|error| error_chain(&error)));
        (!lacks.is_empty()).then(|| lacks.join("; "))
    }
}
