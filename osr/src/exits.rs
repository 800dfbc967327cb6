//! The ways out of a variant: the function returns, or the code leaves through a block of its own.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types::I64};

use crate::{DONE, Leave, OsrError, SlotBuffer, copy::Copier, slot, stages::Stage};

impl Copier<'_, '_> {
    /// The body returns `results`: they go to the frame's first slots.
    pub(crate) fn exit_with_results(&mut self, stage: Stage, results: &[Value]) -> Result<(), OsrError> {
        let [_, _, frame] = self.params;
        for (index, &named) in (0..).zip(results) {
            let value = self.value(stage, named);
            slot::store(&mut self.b, frame, index, value, named)?;
        }
        if let Some(wide) = self.wide {
            // The body has stored them, as slots.
            let buffer = self.thread_buffer(wide.buffer);
            for index in 0..wide.count {
                let result = slot::load(&mut self.b, buffer, index, I64)?;
                slot::store(&mut self.b, frame, index, result, result)?;
            }
        }
        self.exit(DONE);
        Ok(())
    }

    /// The body leaves through a block of its own: the slots go to the buffer.
    pub(crate) fn exit_at(&mut self, stage: Stage, leave: &Leave) -> Result<(), OsrError> {
        let buffer = match leave.to {
            SlotBuffer::Frame => self.params[2],
            SlotBuffer::Thread(offset) => self.thread_buffer(offset),
        };
        for &(index, named) in &leave.live {
            let value = self.value(stage, named);
            slot::store(&mut self.b, buffer, index, value, named)?;
        }
        self.exit(i64::from(leave.status));
        Ok(())
    }

    fn thread_buffer(&mut self, offset: i32) -> Value {
        let cells = self.b.ins().load(I64, MemFlagsData::trusted(), self.params[0], 0);
        self.b.ins().load(I64, MemFlagsData::trusted(), cells, offset)
    }

    fn exit(&mut self, status: i64) {
        let status = self.b.ins().iconst(I64, status);
        self.b.ins().return_(&[status]);
    }
}
