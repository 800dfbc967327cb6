//! Random programs of the dynamic language: a few functions that call those before them, with loops that end, operators on whatever
//! comes, and now and then an error.

use std::fmt::Write;

/// A good hash of one word: SplitMix64's.
pub(crate) fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A program with a `main` of two parameters.
pub(crate) fn generate(seed: u64) -> String {
    let mut writer = Writer {
        state: mix(seed),
        text: String::new(),
        variables: Vec::new(),
        functions: Vec::new(),
        counters: 0,
        turns: 1,
        cost: 0,
    };
    for function in 0..writer.below(3) {
        writer.function(&format!("f{function}"));
        let cost = std::mem::take(&mut writer.cost);
        writer.functions.push(cost);
    }
    writer.function("main");
    writer.text
}

struct Writer {
    state: u64,
    text: String,
    /// In scope; counters of loops are not, so that loops end.
    variables: Vec<String>,
    /// What the functions before this one cost at most, in statements; each has two parameters.
    functions: Vec<u64>,
    counters: u64,
    /// How often the statement being written is executed at most.
    turns: u64,
    /// What this function costs so far.
    cost: u64,
}

/// What a function may cost.
const MOST: u64 = 10_000;

impl Writer {
    fn below(&mut self, bound: u64) -> u64 {
        self.state = mix(self.state);
        self.state % bound
    }

    fn function(&mut self, name: &str) {
        self.variables = vec!["a".into(), "b".into()];
        let _infallible = writeln!(self.text, "fn {name}(a, b) {{");
        self.statements(0);
        let result = self.expression(2);
        let _infallible = writeln!(self.text, "return {result}; }}");
    }

    fn statements(&mut self, depth: u64) {
        let outside = self.variables.len();
        for _ in 0..1 + self.below(4) {
            self.statement(depth);
        }
        self.variables.truncate(outside);
    }

    fn statement(&mut self, depth: u64) {
        self.cost += self.turns;
        match self.below(10) {
            0..3 if self.variables.len() < 8 => {
                let value = self.expression(2);
                let name = format!("v{}", self.variables.len());
                let _infallible = writeln!(self.text, "let {name} = {value};");
                self.variables.push(name);
            }
            3..5 if depth < 2 => self.while_loop(depth),
            5..7 if depth < 3 => {
                let condition = self.condition();
                let _infallible = writeln!(self.text, "if {condition} {{");
                self.statements(depth + 1);
                if self.below(2) == 0 {
                    self.text.push_str("} else {\n");
                    self.statements(depth + 1);
                }
                self.text.push_str("}\n");
            }
            7 if depth > 0 && self.below(3) == 0 => {
                let value = self.expression(1);
                let _infallible = writeln!(self.text, "return {value};");
            }
            _ => {
                let (variable, value) = (self.variable(), self.expression(2));
                let _infallible = writeln!(self.text, "{variable} = {value};");
            }
        }
    }

    /// A loop with a counter that nothing else knows.
    fn while_loop(&mut self, depth: u64) {
        let counter = format!("i{}", self.counters);
        self.counters += 1;
        let turns = [3, 10, 40][self.below(3) as usize];
        let _infallible = writeln!(self.text, "let {counter} = 0;");
        if self.below(4) == 0 {
            // A branch to the loop's header.
            let (condition, variable) = (self.condition(), self.variable());
            let _infallible = writeln!(self.text, "if {condition} {{ {variable} = {counter}; }}");
        }
        let _infallible = writeln!(self.text, "while {counter} < {turns} {{ {counter} = {counter} + 1;");
        self.turns *= turns;
        self.statements(depth + 1);
        self.turns /= turns;
        self.text.push_str("}\n");
    }

    fn variable(&mut self) -> String {
        let nth = self.below(self.variables.len() as u64) as usize;
        self.variables[nth].clone()
    }

    fn condition(&mut self) -> String {
        let (a, b) = (self.expression(1), self.expression(1));
        let sign = ["<", "<=", ">", ">=", "==", "!="][self.below(6) as usize];
        format!("{a} {sign} {b}")
    }

    fn expression(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 8 } else { 16 }) {
            0..5 => self.variable(),
            5 | 6 => self.number(),
            7 if self.below(4) == 0 => ["\"\"", "\"x\"", "\"12\""][self.below(3) as usize].into(),
            7 => self.number(),
            8..14 => {
                let (a, b) = (self.expression(depth - 1), self.expression(depth - 1));
                let sign = ["+", "+", "-", "*", "/"][self.below(5) as usize];
                format!("({a} {sign} {b})")
            }
            14 => format!("({})", self.condition()),
            _ if self.functions.last().is_some_and(|cost| self.cost + self.turns * cost < MOST) => {
                let function = self.functions.len() - 1;
                self.cost += self.turns * self.functions[function];
                let (a, b) = (self.expression(depth - 1), self.expression(depth - 1));
                format!("f{function}({a}, {b})")
            }
            _ => format!("-{}", self.expression(depth - 1)),
        }
    }

    fn number(&mut self) -> String {
        ["0", "1", "2", "3", "10", "0.5", "1.25", "1000000", "2147483647", "2147483648"][self.below(10) as usize].into()
    }
}
