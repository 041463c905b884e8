//! Interfaces of the namespace that the calling thread is in, by rtnetlink(7).

use std::io;
use std::os::fd::RawFd;

use ipnetwork::IpNetwork;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, new_connection};

/// Makes a veth pair; the end `away` moves into the namespace behind `other`.
pub(super) fn make(here: &str, away: &str, other: RawFd) -> io::Result<()> {
    talk(async |handle| {
        handle.link().add(LinkVeth::new(here, away).build()).execute().await?;
        let index = index_of(&handle, away).await?;
        let moved = LinkUnspec::new_with_index(index).setns_by_fd(other).build();
        handle.link().set(moved).execute().await
    })
}

/// Brings an interface up.
pub(super) fn up(name: &str) -> io::Result<()> {
    talk(async |handle| {
        handle.link().set(LinkUnspec::new_with_name(name).up().build()).execute().await
    })
}

/// Removes an interface.
pub(super) fn remove(name: &str) -> io::Result<()> {
    talk(async |handle| {
        let index = index_of(&handle, name).await?;
        handle.link().del(index).execute().await
    })
}

/// Gives an interface an address.
pub(super) fn address(name: &str, address: IpNetwork) -> io::Result<()> {
    talk(async |handle| {
        let index = index_of(&handle, name).await?;
        handle.address().add(index, address.ip(), address.prefix()).execute().await
    })
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    use futures_util::TryStreamExt as _;
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
    Ok(link.header.index)
}

/// Opens a netlink socket in this thread's namespace for one conversation.
fn talk(work: impl AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection()?;
        let connection = tokio::spawn(connection);
        let result = work(handle).await;
        connection.abort();
        result.map_err(io::Error::other)
    })
}
