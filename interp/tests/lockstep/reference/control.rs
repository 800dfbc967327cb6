//! Frames, labels, branches and calls.

use wasmparser::{BlockType, Operator};

use super::storage::Storage;
use super::{Module, Trap, Value, Watch, number};

/// Most frames at a time.
const DEPTH: usize = 200;

/// An activation of a function. That of a caller stands at its call, without the arguments.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) function: u32,
    /// Number of the operator that is next.
    pub(crate) next: usize,
    pub(crate) locals: Vec<Value>,
    pub(crate) operands: Vec<Value>,
    labels: Vec<Label>,
}

/// An open block. The function's own is the first.
#[derive(Debug, Clone, Copy)]
struct Label {
    /// Number of the operator a branch goes to.
    target: usize,
    /// Values it takes along.
    arity: usize,
    /// Operands beneath those.
    height: usize,
}

/// An instance under way.
#[derive(Debug)]
pub(crate) struct Machine<'a, 'm> {
    module: &'a Module<'m>,
    pub(crate) storage: Storage,
    frames: Vec<Frame>,
}

impl<'a, 'm> Machine<'a, 'm> {
    /// Instantiates a module.
    pub(crate) fn new(module: &'a Module<'m>) -> Result<Self, Trap> {
        Ok(Self { module, storage: Storage::new(module)?, frames: Vec::new() })
    }

    /// Calls a function.
    pub(crate) fn call(&mut self, function: u32, arguments: &[Value], watch: &mut impl Watch) -> Result<Vec<Value>, Trap> {
        self.frames.clear();
        self.enter(function, arguments.to_vec())?;
        loop {
            watch.at(&self.frames, &self.storage.memory);
            if let Some(results) = self.step()? {
                return Ok(results);
            }
        }
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a frame is under way")
    }

    fn pop(&mut self) -> Value {
        self.frame().operands.pop().expect("validated")
    }

    fn pop_u32(&mut self) -> u32 {
        match self.pop() {
            Value::I32(value) => value,
            other => panic!("an i32, not {other:?}"),
        }
    }

    fn enter(&mut self, function: u32, arguments: Vec<Value>) -> Result<(), Trap> {
        if self.frames.len() == DEPTH {
            return Err(Trap::StackOverflow);
        }
        let body = &self.module.functions[function as usize];
        let mut locals = arguments;
        locals.extend(body.locals[locals.len()..].iter().map(|&ty| Value::zero(ty)));
        let label = Label { target: body.operators.len(), arity: self.module.ty(function).results().len(), height: 0 };
        self.frames.push(Frame { function, next: 0, locals, operands: Vec::new(), labels: vec![label] });
        Ok(())
    }

    /// Executes one operator. The outermost function's results if that was its last.
    fn step(&mut self) -> Result<Option<Vec<Value>>, Trap> {
        let module = self.module;
        let frame = self.frame();
        let (function, at) = (&module.functions[frame.function as usize], frame.next);
        frame.next += 1;
        match &function.operators[at].0 {
            Operator::Nop => {}
            Operator::Unreachable => return Err(Trap::Unreachable),
            Operator::Block { blockty } => self.open(*blockty, function.blocks[&at].end + 1),
            Operator::Loop { blockty } => self.open_loop(*blockty, at),
            Operator::If { blockty } => {
                let block = function.blocks[&at];
                let holds = self.pop_u32() != 0;
                if holds || block.otherwise.is_some() {
                    self.open(*blockty, block.end + 1);
                }
                if !holds {
                    self.frame().next = block.otherwise.unwrap_or(block.end) + 1;
                }
            }
            // The end of the part that ran: what follows belongs to the other one.
            Operator::Else => {
                let label = self.frame().labels.pop().expect("validated");
                self.frame().next = label.target;
            }
            Operator::End => {
                self.frame().labels.pop();
                if self.frame().labels.is_empty() {
                    return Ok(self.leave());
                }
            }
            Operator::Br { relative_depth } => return Ok(self.branch(*relative_depth)),
            Operator::BrIf { relative_depth } => {
                if self.pop_u32() != 0 {
                    return Ok(self.branch(*relative_depth));
                }
            }
            Operator::BrTable { targets } => {
                let index = self.pop_u32();
                let named = targets.targets().nth(index as usize);
                return Ok(self.branch(named.map_or(targets.default(), |depth| depth.expect("validated"))));
            }
            Operator::Return => return Ok(self.leave()),
            Operator::Call { function_index } => self.call_function(*function_index)?,
            Operator::CallIndirect { type_index, table_index } => {
                let index = self.pop_u32();
                let element = self.storage.tables[*table_index as usize].elements.get(index as usize);
                let callee = element.ok_or(Trap::TableOutOfBounds)?.ok_or(Trap::IndirectCallToNull)?;
                if module.ty(callee) != &module.types[*type_index as usize] {
                    return Err(Trap::BadSignature);
                }
                self.call_function(callee)?;
            }
            other => self.plain(other)?,
        }
        Ok(None)
    }

    /// Executes an operator that goes on with the next one.
    fn plain(&mut self, operator: &Operator<'_>) -> Result<(), Trap> {
        let frame = self.frames.last_mut().expect("a frame is under way");
        let operands = &mut frame.operands;
        match *operator {
            Operator::Drop => drop(operands.pop()),
            Operator::Select | Operator::TypedSelect { .. } => {
                let condition = operands.pop();
                let second = operands.pop().expect("validated");
                if condition == Some(Value::I32(0)) {
                    *operands.last_mut().expect("validated") = second;
                }
            }
            Operator::LocalGet { local_index } => operands.push(frame.locals[local_index as usize]),
            Operator::LocalSet { local_index } => frame.locals[local_index as usize] = operands.pop().expect("validated"),
            Operator::LocalTee { local_index } => frame.locals[local_index as usize] = *operands.last().expect("validated"),
            _ => {
                if !number::execute(operator, operands)? {
                    self.storage.execute(self.module, operator, operands)?;
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, ty: BlockType, target: usize) {
        let (params, arity) = self.module.arity(ty);
        let height = self.frame().operands.len() - params;
        self.frame().labels.push(Label { target, arity, height });
    }

    fn open_loop(&mut self, ty: BlockType, target: usize) {
        let (params, _) = self.module.arity(ty);
        let height = self.frame().operands.len() - params;
        self.frame().labels.push(Label { target, arity: params, height });
    }

    fn branch(&mut self, depth: u32) -> Option<Vec<Value>> {
        let frame = self.frame();
        let at = frame.labels.len() - 1 - depth as usize;
        if at == 0 {
            return self.leave();
        }
        let label = frame.labels[at];
        let kept = frame.operands.len() - label.arity;
        frame.operands.drain(label.height..kept);
        // A loop opens its label again.
        frame.labels.truncate(at);
        frame.next = label.target;
        None
    }

    fn call_function(&mut self, callee: u32) -> Result<(), Trap> {
        let params = self.module.ty(callee).params().len();
        let frame = self.frame();
        // Until the callee returns the frame stands at its call.
        frame.next -= 1;
        let arguments = frame.operands.split_off(frame.operands.len() - params);
        self.enter(callee, arguments)
    }

    /// Returns from the innermost function.
    fn leave(&mut self) -> Option<Vec<Value>> {
        let mut frame = self.frames.pop().expect("a frame is under way");
        let arity = self.module.ty(frame.function).results().len();
        let results = frame.operands.split_off(frame.operands.len() - arity);
        match self.frames.last_mut() {
            Some(caller) => {
                caller.operands.extend(results);
                caller.next += 1;
                None
            }
            None => Some(results),
        }
    }
}
