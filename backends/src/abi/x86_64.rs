//! The seven stubs, x86-64 System V: enter, unwind (with its two ways in: a trap, a fault), bridge, finish, count, poll.
//!
//! Offsets into `ThreadCells` and `Regs` are literal here and asserted in `abi::offset`; the layout of the entry frame is
//! `segment::EntryFrame`.

use std::arch::naked_asm;

use super::{Regs, ThreadCells};

/// Whether this target has stubs.
pub const SUPPORTED: bool = true;

/// Saves what the unwinding needs in an `EntryFrame`, loads the argument registers and goes on in [`call_site`].
///
/// Returns 0, or 1 when unwound.
///
/// # Safety
///
/// As [`enter`](super::enter()).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter(cells: *mut ThreadCells, code: *const u8, regs: *mut Regs) -> u32 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "push rdx",
        "push qword ptr [rdi + 32]", // exit_fp
        "push qword ptr [rdi + 40]", // exit_pc
        "push qword ptr [rdi + 24]", // entry_sp of the segment outside this one
        "mov [rdi + 24], rsp",
        "mov r11, rsi",
        "mov r10, rdx",
        // Stack arguments, last first, after a pad that keeps the stack aligned to 16.
        "mov rcx, [r10 + 120]",
        "test rcx, rcx",
        "jz 4f",
        "mov rax, [r10 + 112]",
        "test cl, 1",
        "jz 3f",
        "push 0",
        "3:",
        "push qword ptr [rax + 8 * rcx - 8]",
        "dec rcx",
        "jnz 3b",
        "4:",
        "mov rdi, [r10]",
        "mov rsi, [r10 + 8]",
        "mov rdx, [r10 + 16]",
        "mov rcx, [r10 + 24]",
        "mov r8, [r10 + 32]",
        "mov r9, [r10 + 40]",
        "movsd xmm0, [r10 + 48]",
        "movsd xmm1, [r10 + 56]",
        "movsd xmm2, [r10 + 64]",
        "movsd xmm3, [r10 + 72]",
        "movsd xmm4, [r10 + 80]",
        "movsd xmm5, [r10 + 88]",
        "movsd xmm6, [r10 + 96]",
        "movsd xmm7, [r10 + 104]",
        "jmp {call_site}",
        call_site = sym call_site,
    )
}

/// The only call into generated code: its return address is how a frame walk knows that a segment ends.
#[unsafe(naked)]
unsafe extern "C" fn call_site() {
    naked_asm!(
        "call r11", // three bytes: see `return_address`
        "mov rcx, [rbp - 56]",
        "mov [rcx + 128], rax",
        "movsd [rcx + 136], xmm0",
        "xor eax, eax",
        "lea rsp, [rbp - 80]",
        "jmp {leave}",
        leave = sym leave,
    )
}

/// The address every outermost generated frame of a segment returns to.
pub(super) fn return_address() -> usize {
    call_site as *const () as usize + 3
}

/// With `rsp` at an `EntryFrame` and the status in `eax`: restores everything and returns from [`enter`].
#[unsafe(naked)]
unsafe extern "C" fn leave() {
    naked_asm!(
        "mov rdi, [rsp + 32]",
        "pop qword ptr [rdi + 24]",
        "pop qword ptr [rdi + 40]",
        "pop qword ptr [rdi + 32]",
        "add rsp, 16", // regs, cells
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Abandons every frame of the innermost segment of the thread whose cells are in `rdi`.
#[unsafe(naked)]
unsafe extern "C" fn unwind() {
    naked_asm!(
        "mov rsp, [rdi + 24]",
        "mov eax, 1",
        "jmp {leave}",
        leave = sym leave,
    )
}

/// Records the exit, runs the trap hook, unwinds.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn trap_stub(cells: *mut ThreadCells, code: u64) -> ! {
    naked_asm!(
        "mov [rdi + 56], rsi", // trap
        "mov [rdi + 32], rbp", // exit_fp
        "mov rax, [rsp]",
        "mov [rdi + 40], rax", // exit_pc
        "push rdi",
        "call qword ptr [rdi + 88]", // on_trap
        "pop rdi",
        "jmp {unwind}",
        unwind = sym unwind,
    )
}

/// Where the signal handler sends a guard fault, with the cells in `rdi` and `trap`, `exit_fp`, `exit_pc` already set. The
/// stack pointer is wherever generated code had it.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn fault_stub() {
    naked_asm!(
        "sub rsp, 128",
        "and rsp, -16",
        "push rdi",
        "sub rsp, 8",
        "call qword ptr [rdi + 88]", // on_trap
        "add rsp, 8",
        "pop rdi",
        "jmp {unwind}",
        unwind = sym unwind,
    )
}

/// Spills the argument registers, records the exit, calls `cells.bridge`, loads the result or unwinds.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn bridge_stub() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 160", // Regs at rsp, the cells at rbp - 8
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        "movsd [rsp + 48], xmm0",
        "movsd [rsp + 56], xmm1",
        "movsd [rsp + 64], xmm2",
        "movsd [rsp + 72], xmm3",
        "movsd [rsp + 80], xmm4",
        "movsd [rsp + 88], xmm5",
        "movsd [rsp + 96], xmm6",
        "movsd [rsp + 104], xmm7",
        "lea rax, [rbp + 16]",
        "mov [rsp + 112], rax",
        "mov qword ptr [rsp + 120], 0", // only the callee's signature knows how many
        "mov rax, [rdi]",
        "mov [rbp - 8], rax",
        "mov rcx, [rbp]",
        "mov [rax + 32], rcx", // exit_fp: the caller's frame
        "mov rcx, [rbp + 8]",
        "mov [rax + 40], rcx", // exit_pc
        "mov rdx, rsp",
        "call qword ptr [rax + 80]", // bridge
        "test eax, eax",
        "jnz 3f",
        "mov rax, [rsp + 128]",
        "movsd xmm0, [rsp + 136]",
        "leave",
        "ret",
        "3:",
        "mov rdi, [rbp - 8]",
        "jmp {unwind}",
        unwind = sym unwind,
    )
}

/// Records the exit, has `cells.finish` run the rest of the call, returns the frame to the body
/// that leaves, or unwinds.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn finish_stub() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 16", // the cells at rbp - 8, the frame at rbp - 16
        "mov rax, [rdi]",
        "mov [rbp - 8], rax",
        "mov [rbp - 16], rdx",
        "mov r8, [rbp]",
        "mov [rax + 32], r8", // exit_fp: the caller's frame
        "mov r8, [rbp + 8]",
        "mov [rax + 40], r8", // exit_pc
        "call qword ptr [rax + 112]", // finish: the four arguments are where the caller put them
        "test eax, eax",
        "jnz 3f",
        "mov rax, [rbp - 16]",
        "leave",
        "ret",
        "3:",
        "mov rdi, [rbp - 8]",
        "jmp {unwind}",
        unwind = sym unwind,
    )
}

/// A stub that gets at the cells by an instruction, records the exit, calls the hook at an offset of the cells, and leaves every register as it was, so that a compiler
/// keeps what it likes where it likes across a call in a cold block. (Vector registers as far as Cranelift's code has them: 128 bits
/// of sixteen.) Unwinds if the hook returns anything but 0.
macro_rules! keeps_registers {
    ($cells:literal, $hook:literal) => {
        naked_asm!(
            "push rbp",
            "mov rbp, rsp",
            "push rax",
            "push rcx",
            "push rdx",
            "push rsi",
            "push rdi",
            "push r8",
            "push r9",
            "push r10",
            "push r11",
            "sub rsp, 264", // sixteen vector registers, and 8 to align
            "movups [rsp + 0], xmm0",
            "movups [rsp + 16], xmm1",
            "movups [rsp + 32], xmm2",
            "movups [rsp + 48], xmm3",
            "movups [rsp + 64], xmm4",
            "movups [rsp + 80], xmm5",
            "movups [rsp + 96], xmm6",
            "movups [rsp + 112], xmm7",
            "movups [rsp + 128], xmm8",
            "movups [rsp + 144], xmm9",
            "movups [rsp + 160], xmm10",
            "movups [rsp + 176], xmm11",
            "movups [rsp + 192], xmm12",
            "movups [rsp + 208], xmm13",
            "movups [rsp + 224], xmm14",
            "movups [rsp + 240], xmm15",
            concat!("mov rax, ", $cells),
            "mov [rsp + 256], rax", // in the pad
            "mov r8, [rbp]",
            "mov [rax + 32], r8", // exit_fp: the caller's frame
            "mov r8, [rbp + 8]",
            "mov [rax + 40], r8", // exit_pc
            concat!("call qword ptr [rax + ", $hook, "]"),
            "test eax, eax",
            "jnz 3f",
            "movups xmm0, [rsp + 0]",
            "movups xmm1, [rsp + 16]",
            "movups xmm2, [rsp + 32]",
            "movups xmm3, [rsp + 48]",
            "movups xmm4, [rsp + 64]",
            "movups xmm5, [rsp + 80]",
            "movups xmm6, [rsp + 96]",
            "movups xmm7, [rsp + 112]",
            "movups xmm8, [rsp + 128]",
            "movups xmm9, [rsp + 144]",
            "movups xmm10, [rsp + 160]",
            "movups xmm11, [rsp + 176]",
            "movups xmm12, [rsp + 192]",
            "movups xmm13, [rsp + 208]",
            "movups xmm14, [rsp + 224]",
            "movups xmm15, [rsp + 240]",
            "add rsp, 264",
            "pop r11",
            "pop r10",
            "pop r9",
            "pop r8",
            "pop rdi",
            "pop rsi",
            "pop rdx",
            "pop rcx",
            "pop rax",
            "pop rbp",
            "ret",
            "3:",
            "mov rdi, [rsp + 256]",
            "jmp {unwind}",
            unwind = sym unwind,
        )
    };
}

/// Calls `cells.on_count`.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn count_stub() {
    keeps_registers!("[rdi]", 96)
}

/// Calls `cells.on_poll`.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn poll_stub() {
    keeps_registers!("rdi", 128)
}
