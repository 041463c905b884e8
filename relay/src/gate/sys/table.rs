//! Tables: making them with types, and writing many elements at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::libc;
use relay_common::table::{Kind, Table};

use super::{About, Batch, Create, Element, MapInfo, Number, bpf, number, owned};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_BTF_GET_FD_BY_ID: libc::c_int = 19;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

/// The types of a table's keys and values, as bpftool prints them. They are borrowed from a table that the
/// kernel object declares.
#[derive(Debug)]
pub struct Types {
    btf: OwnedFd,
    key: u32,
    value: u32,
}

impl Types {
    /// Returns the types of a table.
    ///
    /// # Errors
    ///
    /// What the kernel said: EPERM without CAP_SYS_ADMIN, ENOENT for a table without types.
    pub fn of(table: impl AsFd) -> io::Result<Self> {
        let info = about(table)?;
        let btf = bpf(BPF_BTF_GET_FD_BY_ID, &mut Number { id: info.btf_id, next_id: 0, flags: 0 })?;
        Ok(Self { btf: owned(btf), key: info.btf_key_type_id, value: info.btf_value_type_id })
    }
}

fn about(table: impl AsFd) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let length = size_of::<MapInfo>() as u32;
    let address = std::ptr::from_mut(&mut info) as u64;
    let fd = number(table.as_fd().as_raw_fd());
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut About { fd, length, info: address })?;
    Ok(info)
}

/// Returns the bytes of a value and how many there are at most.
pub(super) fn shape(table: impl AsFd) -> io::Result<(usize, usize)> {
    let [_, _, _, value_bytes, capacity, _] = about(table)?.numbers;
    Ok((value_bytes as usize, capacity as usize))
}

/// Returns how often each CPU's values of an array stand for one (once, or once for each CPU that there can
/// be), the bytes of a value, and how many there are.
///
/// # Errors
///
/// What the kernel said; [`io::ErrorKind::InvalidData`] for what is no array with numbers for keys.
pub(super) fn array_shape(table: impl AsFd) -> io::Result<(usize, usize, usize)> {
    let [kind, _, key_bytes, value_bytes, capacity, _] = about(table)?.numbers;
    let copies = match kind {
        kind if kind == Kind::Array as u32 => 1,
        kind if kind == Kind::PerCpuArray as u32 => {
            aya::util::nr_cpus().map_err(|(_, error)| error)?
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    if key_bytes != 4 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((copies, value_bytes as usize, capacity as usize))
}

/// Makes a table of this shape.
///
/// # Errors
///
/// What the kernel said: EPERM without CAP_BPF, ENOMEM, E2BIG.
pub fn make(table: &Table, types: Option<&Types>) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..table.name.len()].copy_from_slice(table.name.as_bytes());
    let mut create = Create {
        kind: table.kind as u32,
        key_size: table.key_bytes,
        value_size: table.value_bytes,
        max_entries: table.capacity,
        flags: table.flags,
        inner_map_fd: 0,
        numa_node: 0,
        name,
        ifindex: 0,
        btf_fd: types.map_or(0, |types| number(types.btf.as_raw_fd())),
        btf_key_type_id: types.map_or(0, |types| types.key),
        btf_value_type_id: types.map_or(0, |types| types.value),
    };
    bpf(BPF_MAP_CREATE, &mut create).map(owned)
}

/// Puts tables into places of a table of tables. When it returns no CPU uses what stood there before.
///
/// # Errors
///
/// What the kernel said: EINVAL for a table of another shape. Those before it stand then.
pub fn put(outer: impl AsFd, tables: &[(u32, &OwnedFd)]) -> io::Result<()> {
    let keys: Vec<u32> = tables.iter().map(|(key, _)| *key).collect();
    let values: Vec<u32> = tables.iter().map(|(_, table)| number(table.as_raw_fd())).collect();
    let map_fd = number(outer.as_fd().as_raw_fd());
    let mut batch = Batch {
        from: 0,
        to: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd,
        element_flags: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_UPDATE_BATCH, &mut batch) {
        Ok(_) => return Ok(()),
        // Kernels before 5.13 know no batches of these: one after the other then, each with its wait.
        Err(error) if error.raw_os_error() == Some(ENOTSUPP) => {}
        Err(error) => return Err(error),
    }
    for (key, value) in keys.iter().zip(&values) {
        let (key, value) = (std::ptr::from_ref(key) as u64, std::ptr::from_ref(value) as u64);
        bpf(BPF_MAP_UPDATE_ELEM, &mut Element { map_fd: map_fd.into(), key, value, flags: 0 })?;
    }
    Ok(())
}

/// The kernel's own number for what it does not do, which no header of the C library has.
pub(super) const ENOTSUPP: i32 = 524;

/// Takes a table out of a table of tables. It is freed when no CPU, descriptor or pin uses it any more.
///
/// # Errors
///
/// What the kernel said; that nothing stands there is no error.
pub fn clear(outer: impl AsFd, key: u32) -> io::Result<()> {
    let map_fd = number(outer.as_fd().as_raw_fd()).into();
    let key = std::ptr::from_ref(&key) as u64;
    match bpf(BPF_MAP_DELETE_ELEM, &mut Element { map_fd, key, value: 0, flags: 0 }) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}

/// Writes many elements of a table; `keys` and `values` are of its sizes. Returns how many were written
/// before the kernel refused one.
///
/// # Errors
///
/// What the kernel said to the first that it refused, and how many stand.
pub fn put_many<K: aya::Pod, V: aya::Pod>(
    table: impl AsFd,
    keys: &[K],
    values: &[V],
) -> Result<(), (io::Error, usize)> {
    assert_eq!(keys.len(), values.len(), "a value a key");
    let mut done = 0;
    while done < keys.len() {
        let mut batch = Batch {
            from: 0,
            to: 0,
            keys: keys[done..].as_ptr() as u64,
            values: values[done..].as_ptr() as u64,
            count: u32::try_from(keys.len() - done).unwrap_or(u32::MAX),
            map_fd: number(table.as_fd().as_raw_fd()),
            element_flags: 0,
            flags: 0,
        };
        match bpf(BPF_MAP_UPDATE_BATCH, &mut batch) {
            Ok(_) => done += batch.count as usize,
            Err(error) => return Err((error, done + batch.count as usize)),
        }
    }
    Ok(())
}
