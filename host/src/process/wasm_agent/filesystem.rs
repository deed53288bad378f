//! Guards in front of `wasi:filesystem`, against what `wasmtime-wasi` permits and an agent must not do.
//!
//! - It opens a FIFO with a blocking `open`, which waits forever and cannot be interrupted. Only regular
//!   files and directories are opened.
//! - It lets a component create any number of files, which can exhaust the inodes of the disk.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, Host, HostDescriptor, OpenFlags,
    PathFlags,
};

use super::State;

/// The interface as `wasmtime-wasi` names it.
const INTERFACE: &str = "wasi:filesystem/types@0.2.12";
/// Maximum number of files, directories and links that one agent may create.
const MOST_NEW_FILES: u32 = 10_000;

/// Counts what an agent creates.
#[derive(Debug, Default)]
pub(super) struct NewFiles(u32);

impl NewFiles {
    fn add(&mut self) -> Result<(), ErrorCode> {
        if self.0 >= MOST_NEW_FILES {
            return Err(ErrorCode::Quota);
        }
        self.0 += 1;
        Ok(())
    }
}

/// Puts the guards in front of the functions of the interface, which the linker has already.
pub(super) fn add_guards(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type At = Resource<Descriptor>;
    linker.allow_shadowing(true);
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, State>,
         (at, follow, path, open, flags): (At, PathFlags, String, OpenFlags, DescriptorFlags)| {
            let state = store.data_mut();
            guarded(state, |state| {
                check_open(state, &at, follow, &path, open)?;
                let mut files = state.filesystem();
                let opened = files.open_at(at, follow, path, open, flags);
                opened.map_err(Refusal::Of)
            })
        },
    )?;
    interface.func_wrap(
        "[method]descriptor.create-directory-at",
        |mut store: StoreContextMut<'_, State>, (at, path): (At, String)| {
            guarded(store.data_mut(), |state| {
                state.new_files.add()?;
                Ok(state.filesystem().create_directory_at(at, path)?)
            })
        },
    )?;
    interface.func_wrap(
        "[method]descriptor.symlink-at",
        |mut store: StoreContextMut<'_, State>, (at, old, new): (At, String, String)| {
            guarded(store.data_mut(), |state| {
                state.new_files.add()?;
                Ok(state.filesystem().symlink_at(at, old, new)?)
            })
        },
    )?;
    interface.func_wrap(
        "[method]descriptor.link-at",
        |mut store: StoreContextMut<'_, State>,
         (at, follow, old, to, new): (At, PathFlags, String, At, String)| {
            guarded(store.data_mut(), |state| {
                state.new_files.add()?;
                Ok(state.filesystem().link_at(at, follow, old, to, new)?)
            })
        },
    )
}

/// Why a call is refused: by a guard, or by the interface itself.
enum Refusal {
    Guard(ErrorCode),
    Of(FsError),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal::Guard(code)
    }
}

impl From<FsError> for Refusal {
    fn from(error: FsError) -> Self {
        Refusal::Of(error)
    }
}

/// Makes a call and converts its error for the component.
fn guarded<T>(
    state: &mut State,
    call: impl FnOnce(&mut State) -> Result<T, Refusal>,
) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match call(state) {
        Ok(value) => Ok((Ok(value),)),
        Err(Refusal::Guard(code)) => Ok((Err(code),)),
        Err(Refusal::Of(error)) => {
            let mut files: WasiFilesystemCtxView<'_> = state.filesystem();
            Ok((Err(Host::convert_error_code(&mut files, error)?),))
        }
    }
}

/// Refuses an open that would block, and counts a file that would be created.
fn check_open(
    state: &mut State,
    at: &Resource<Descriptor>,
    follow: PathFlags,
    path: &str,
    open: OpenFlags,
) -> Result<(), Refusal> {
    let at = Resource::new_borrow(at.rep());
    match state.filesystem().stat_at(at, follow, path.to_owned()) {
        Ok(found) => match found.type_ {
            // A link that is not followed is refused by `open-at` itself.
            DescriptorType::RegularFile
            | DescriptorType::Directory
            | DescriptorType::SymbolicLink => Ok(()),
            _ => Err(ErrorCode::NotPermitted.into()),
        },
        // A path that cannot be examined cannot be opened either, unless it is created.
        Err(_) if open.contains(OpenFlags::CREATE) => Ok(state.new_files.add()?),
        Err(error) => Err(error.into()),
    }
}
