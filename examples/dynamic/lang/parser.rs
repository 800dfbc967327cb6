//! Source text to instructions, in one pass: a statement's temporaries are the registers above the variables in scope.

use std::{collections::HashMap, fmt, iter::Peekable, str::Chars, sync::OnceLock};

use super::code::{Function, Instruction, Op, PARAMETERS, Pc, Program, REGISTERS, Reg, Seen};
use super::value::{Operator, STRING, Value, int, literal};

/// What is wrong with a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError(String);

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SyntaxError {}

type Parsed<T> = Result<T, SyntaxError>;

fn error<T>(message: impl Into<String>) -> Parsed<T> {
    Err(SyntaxError(message.into()))
}

/// Parses functions:
///
/// ```text
/// function   = "fn" name "(" [name {"," name}] ")" block
/// block      = "{" {statement} "}"
/// statement  = "let" name "=" expression ";"  |  name "=" expression ";"  |  expression ";"  |  "return" expression ";"
///            | "while" expression block  |  "if" expression block ["else" block]
/// expression = sum [("<" | "<=" | ">" | ">=" | "==" | "!=") sum]
/// sum        = product {("+" | "-") product}
/// product    = factor {("*" | "/") factor}
/// factor     = "-" factor | "(" expression ")" | number | string | name | name "(" [expression {"," expression}] ")"
/// ```
///
/// A function that reaches its end returns 0. Comparisons are 1 or 0; conditions hold for all but 0 and "".
pub(crate) fn parse(source: &str) -> Parsed<Program> {
    let mut parser = Parser { tokens: tokens(source)?.into_iter().peekable(), ..Parser::default() };
    let mut functions = Vec::new();
    while parser.accept("fn") {
        let function = parser.function()?;
        let index = parser.index(&function.name);
        functions.push((index, function));
    }
    if let Some(token) = parser.tokens.next() {
        return error(format!("a function was expected, not {token:?}"));
    }
    functions.sort_by_key(|&(index, _)| index);
    if let Some(missing) = (0..parser.names.len()).find(|&nth| functions.get(nth).is_none_or(|&(index, _)| index != nth)) {
        let name = parser.names.iter().find(|&(_, &index)| index == missing).map_or("", |(name, _)| name);
        return error(format!("{name} is called but defined nowhere, or something is defined twice"));
    }
    let functions: Vec<Function> = functions.into_iter().map(|(_, function)| function).collect();
    if let Some(&(callee, _)) = parser.calls.iter().find(|&&(callee, count)| functions[callee].parameters != count) {
        return error(format!("{} has {} parameters", functions[callee].name, functions[callee].parameters));
    }
    Ok(Program { functions, literals: parser.literals, code_cells: OnceLock::new() })
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Name(String),
    Number(f64),
    Text(String),
    Sign(&'static str),
}

const SIGNS: [&str; 17] = ["<=", ">=", "==", "!=", "<", ">", "=", "+", "-", "*", "/", "(", ")", "{", "}", ",", ";"];

fn tokens(source: &str) -> Parsed<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = source.chars();
    loop {
        rest = rest.as_str().trim_start().chars();
        let text = rest.as_str();
        let Some(first) = text.chars().next() else { return Ok(tokens) };
        let mut take = |is_part: fn(char) -> bool| -> String {
            let part: String = text.chars().take_while(|&c| is_part(c)).collect();
            rest = text[part.len()..].chars();
            part
        };
        if first.is_ascii_digit() {
            let number = take(|c| c.is_ascii_digit() || c == '.');
            tokens.push(Token::Number(number.parse().or_else(|_| error(format!("{number} is no number")))?));
        } else if first.is_alphabetic() {
            tokens.push(Token::Name(take(|c| c.is_alphanumeric() || c == '_')));
        } else if first == '"' {
            tokens.push(Token::Text(quoted(&mut rest)?));
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| text.starts_with(sign)) {
            rest = text[sign.len()..].chars();
            tokens.push(Token::Sign(sign));
        } else {
            return error(format!("what is {first}?"));
        }
    }
}

fn quoted(rest: &mut Chars<'_>) -> Parsed<String> {
    rest.next();
    match rest.as_str().split_once('"') {
        Some((text, after)) => {
            *rest = after.chars();
            Ok(text.to_owned())
        }
        None => error("a string does not end"),
    }
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    /// Functions by name, in the order in which they were first mentioned.
    names: HashMap<String, usize>,
    /// Function and number of arguments of every call.
    calls: Vec<(usize, usize)>,
    literals: Vec<String>,
    // Of the function being parsed:
    code: Vec<Instruction>,
    variables: Vec<String>,
    /// Registers in use: variables in scope, then temporaries.
    top: Reg,
    loops: u32,
}

impl Default for Parser {
    fn default() -> Self {
        Parser {
            tokens: Vec::new().into_iter().peekable(),
            names: HashMap::new(),
            calls: Vec::new(),
            literals: Vec::new(),
            code: Vec::new(),
            variables: Vec::new(),
            top: 0,
            loops: 0,
        }
    }
}

/// The operators of each level of precedence, the weakest first; an operator may be another with its operands exchanged.
const LEVELS: [&[(&str, Operator, bool)]; 3] = [
    &[
        ("<", Operator::Less, false),
        ("<=", Operator::LessEqual, false),
        (">", Operator::Less, true),
        (">=", Operator::LessEqual, true),
        ("==", Operator::Equal, false),
        ("!=", Operator::Equal, false),
    ],
    &[("+", Operator::Add, false), ("-", Operator::Sub, false)],
    &[("*", Operator::Mul, false), ("/", Operator::Div, false)],
];

impl Parser {
    fn accept(&mut self, word: &str) -> bool {
        self.tokens
            .next_if(|token| match token {
                Token::Name(name) => name == word,
                Token::Sign(sign) => *sign == word,
                _ => false,
            })
            .is_some()
    }

    fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.accept(word) { Ok(()) } else { error(format!("{word:?} was expected, not {:?}", self.tokens.peek())) }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            other => error(format!("a name was expected, not {other:?}")),
        }
    }

    /// The number of a function.
    fn index(&mut self, name: &str) -> usize {
        let next = self.names.len();
        *self.names.entry(name.to_owned()).or_insert(next)
    }

    fn emit(&mut self, op: Op) -> Pc {
        self.code.push(Instruction { op, live: self.top, seen: Seen::default() });
        self.code.len() - 1
    }

    /// Has the jump at `pc` lead to what comes next.
    fn land(&mut self, pc: Pc) {
        let here = self.code.len();
        if let Op::Jump { go } | Op::JumpUnless { go, .. } = &mut self.code[pc].op {
            *go = here;
        }
    }

    /// A register for one more value.
    fn push(&mut self) -> Parsed<Reg> {
        self.top += 1;
        if self.top > REGISTERS { error("too many variables") } else { Ok(self.top - 1) }
    }

    fn function(&mut self) -> Parsed<Function> {
        let name = self.name()?;
        (self.top, self.loops) = (0, 0);
        self.variables.clear();
        self.expect("(")?;
        while !self.accept(")") {
            let parameter = self.name()?;
            self.variables.push(parameter);
            self.push()?;
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        let parameters = self.variables.len();
        if parameters > PARAMETERS {
            return error(format!("{name} has too many parameters"));
        }
        self.block()?;
        let zero = self.push()?;
        self.emit(Op::Const { to: zero, value: int(0) });
        self.top += 1;
        self.emit(Op::Return { a: zero });
        Ok(Function { name, parameters, code: std::mem::take(&mut self.code) })
    }

    fn block(&mut self) -> Parsed<()> {
        let outside = self.variables.len();
        self.expect("{")?;
        while !self.accept("}") {
            self.statement()?;
            self.top = self.variables.len();
        }
        self.variables.truncate(outside);
        self.top = outside;
        Ok(())
    }

    fn statement(&mut self) -> Parsed<()> {
        if self.accept("let") {
            let name = self.name()?;
            self.expect("=")?;
            let to = self.top;
            self.expression_into(to)?;
            self.variables.push(name);
            return self.expect(";");
        }
        if self.accept("return") {
            let a = self.expression()?;
            self.emit(Op::Return { a });
            return self.expect(";");
        }
        if self.accept("while") {
            let header = self.emit(Op::Loop { site: self.loops });
            self.loops += 1;
            let a = self.expression()?;
            let out = self.emit(Op::JumpUnless { a, go: 0 });
            self.top = self.variables.len();
            self.block()?;
            self.emit(Op::Jump { go: header });
            self.land(out);
            return Ok(());
        }
        if self.accept("if") {
            let a = self.expression()?;
            let mut over = self.emit(Op::JumpUnless { a, go: 0 });
            self.top = self.variables.len();
            self.block()?;
            if self.accept("else") {
                let end = self.emit(Op::Jump { go: 0 });
                self.land(over);
                self.block()?;
                over = end;
            }
            self.land(over);
            return Ok(());
        }
        // A variable's name and "=" are an assignment; any other name begins an expression.
        if let Some(Token::Name(name)) = self.tokens.peek().cloned()
            && let Some(to) = self.variable(&name)
        {
            self.tokens.next();
            self.expect("=")?;
            let from = self.expression()?;
            self.emit(Op::Copy { to, from });
        } else {
            self.expression()?;
        }
        self.expect(";")
    }

    fn variable(&self, name: &str) -> Option<Reg> {
        self.variables.iter().rposition(|variable| variable == name)
    }

    fn expression(&mut self) -> Parsed<Reg> {
        self.level(0)
    }

    /// An expression whose value is to be in the first free register, `to`, which is then in use.
    fn expression_into(&mut self, to: Reg) -> Parsed<()> {
        let from = self.expression()?;
        if from != to {
            self.emit(Op::Copy { to, from });
        }
        self.top = to;
        self.push().map(|_| ())
    }

    /// An expression of operators from `level` on. Its value is in a variable's register, or in the first that was free.
    fn level(&mut self, level: usize) -> Parsed<Reg> {
        let Some(operators) = LEVELS.get(level) else { return self.factor() };
        let to = self.top;
        let mut left = self.level(level + 1)?;
        while let Some(&(sign, op, exchanged)) = operators.iter().find(|&&(sign, ..)| self.accept(sign)) {
            let right = self.level(level + 1)?;
            let (a, b) = if exchanged { (right, left) } else { (left, right) };
            left = self.binary(op, to, a, b)?;
            if sign == "!=" {
                let zero = self.constant(int(0))?;
                left = self.binary(Operator::Equal, to, left, zero)?;
            }
        }
        Ok(left)
    }

    /// The operator's value, in `to`, which takes the place of what its operands may have had from there on.
    fn binary(&mut self, op: Operator, to: Reg, a: Reg, b: Reg) -> Parsed<Reg> {
        self.emit(Op::Binary { op, to, a, b });
        self.top = to;
        self.push()
    }

    fn constant(&mut self, value: Value) -> Parsed<Reg> {
        let to = self.push()?;
        self.emit(Op::Const { to, value });
        Ok(to)
    }

    fn factor(&mut self) -> Parsed<Reg> {
        let first = self.top;
        match self.tokens.next() {
            Some(Token::Number(number)) => self.constant(literal(number)),
            Some(Token::Text(text)) => {
                self.literals.push(text);
                self.constant(STRING | (self.literals.len() - 1) as Value)
            }
            Some(Token::Sign("-")) => {
                let zero = self.constant(int(0))?;
                let b = self.factor()?;
                self.binary(Operator::Sub, first, zero, b)
            }
            Some(Token::Sign("(")) => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Some(Token::Name(name)) if self.accept("(") => {
                let mut count = 0;
                while !self.accept(")") {
                    self.expression_into(first + count)?;
                    count += 1;
                    if !self.accept(",") {
                        self.expect(")")?;
                        break;
                    }
                }
                let function = self.index(&name);
                self.calls.push((function, count));
                self.emit(Op::Call { to: first, function, first });
                self.top = first;
                self.push()
            }
            Some(Token::Name(name)) => match self.variable(&name) {
                Some(variable) => Ok(variable),
                None => error(format!("{name} is not a variable")),
            },
            other => error(format!("an expression was expected, not {other:?}")),
        }
    }
}
