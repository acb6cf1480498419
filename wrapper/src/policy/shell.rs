//! Reads a line of shell into commands: only what every shell reads in the same way.
//!
//! Substitutions, functions, compound commands, here-documents and whatever else would need more
//! than this to be understood makes the line unreadable.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// A part of a line that is not read with certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(&'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A word of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// As the program gets it, where it is certain; otherwise what is known of it.
    pub(super) text: String,
    /// Nothing in it is filled in by the shell. Otherwise it may become any number of words.
    pub(super) certain: bool,
    /// The variable that it sets, where it stands before a command.
    pub(super) assigns: Option<String>,
    quoted: bool,
}

impl Word {
    /// A word that no shell has read.
    pub(super) fn literal(text: &str) -> Self {
        Self { text: text.to_owned(), certain: true, ..Self::default() }
    }

    fn begun() -> Self {
        Self::literal("")
    }
}

/// The commands of a line, in order; how they are joined makes no difference.
pub(super) fn read(line: &str) -> Result<Vec<Vec<Word>>, Unreadable> {
    let mut reader = Reader { rest: line.chars().peekable(), ..Reader::default() };
    while let Some(char) = reader.rest.next() {
        reader.char(char)?;
        reader.after_blank = matches!(char, ' ' | '\t');
    }
    reader.end_command()?;
    Ok(reader.commands)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    word: Option<Word>,
    after_blank: bool,
    /// The next word names a file, and is none of the command's.
    redirects: bool,
    command: Vec<Word>,
    commands: Vec<Vec<Word>>,
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self {
            rest: "".chars().peekable(),
            word: None,
            after_blank: false,
            redirects: false,
            command: Vec::new(),
            commands: Vec::new(),
        }
    }
}

impl Reader<'_> {
    /// Outside of quotes.
    fn char(&mut self, char: char) -> Result<(), Unreadable> {
        match char {
            ' ' | '\t' => self.end_word(),
            '\n' | ';' => return self.end_command(),
            '|' => {
                self.rest.next_if(|&next| next == '|' || next == '&');
                return self.end_command();
            }
            '&' => return self.ampersand(),
            '<' | '>' => return self.redirect(char),
            '(' | ')' => return Err(Unreadable("a parenthesis")),
            '`' => return Err(SUBSTITUTION),
            '#' if self.word.is_none() => {
                while self.rest.next_if(|&next| next != '\n').is_some() {}
            }
            '\'' => return self.single_quoted(),
            '"' => return self.double_quoted(),
            '\\' => return self.escaped(),
            '$' => return self.dollar(Quotes::None),
            '*' | '?' | '[' | ']' | '{' | '}' | '~' => self.uncertain(char),
            '=' => self.equals(),
            _ if char.is_control() => return Err(CONTROL),
            _ => self.word().text.push(char),
        }
        Ok(())
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_with(Word::begun)
    }

    fn uncertain(&mut self, char: char) {
        let word = self.word();
        word.text.push(char);
        word.certain = false;
    }

    /// A name before it that is not quoted makes the word an assignment.
    fn equals(&mut self) {
        let word = self.word();
        if word.assigns.is_none() && !word.quoted && !word.text.is_empty() {
            word.assigns = Some(word.text.clone());
        }
        word.text.push('=');
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if !std::mem::take(&mut self.redirects) {
            self.command.push(word);
        }
    }

    fn end_command(&mut self) -> Result<(), Unreadable> {
        self.end_word();
        if self.redirects {
            return Err(Unreadable("a redirection to nowhere"));
        }
        if !self.command.is_empty() {
            self.commands.push(std::mem::take(&mut self.command));
        }
        Ok(())
    }

    fn ampersand(&mut self) -> Result<(), Unreadable> {
        if self.rest.next_if_eq(&'>').is_some() {
            return Err(Unreadable(
                "`&>`, which some shells read as two commands (write `> file 2>&1`),",
            ));
        }
        self.rest.next_if_eq(&'&');
        self.end_command()
    }

    fn redirect(&mut self, char: char) -> Result<(), Unreadable> {
        match self.word.take() {
            // The number of a descriptor.
            Some(word) if !word.quoted && word.text.bytes().all(|byte| byte.is_ascii_digit()) => {}
            Some(word) if word.text.ends_with('}') => {
                return Err(Unreadable("a redirection that sets a variable"));
            }
            word => {
                self.word = word;
                self.end_word();
            }
        }
        if self.redirects {
            return Err(Unreadable("a redirection to nowhere"));
        }
        match self.rest.peek() {
            Some('<') if char == '<' => return Err(Unreadable("a here-document")),
            Some('>' | '&') => {
                self.rest.next();
            }
            Some('|') if char == '>' => {
                self.rest.next();
            }
            _ => {}
        }
        self.redirects = true;
        Ok(())
    }

    fn single_quoted(&mut self) -> Result<(), Unreadable> {
        self.word().quoted = true;
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(char) => self.quoted(char)?,
                None => return Err(OPEN_QUOTE),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), Unreadable> {
        self.word().quoted = true;
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('$') => self.dollar(Quotes::Double)?,
                Some('`') => return Err(SUBSTITUTION),
                Some('\\') => match self.rest.next() {
                    Some('\n') => return Err(BROKEN),
                    Some(char @ ('$' | '`' | '"' | '\\')) => self.quoted(char)?,
                    Some(char) => {
                        self.quoted('\\')?;
                        self.quoted(char)?;
                    }
                    None => return Err(OPEN_QUOTE),
                },
                Some(char) => self.quoted(char)?,
                None => return Err(OPEN_QUOTE),
            }
        }
    }

    fn quoted(&mut self, char: char) -> Result<(), Unreadable> {
        if char.is_control() && !matches!(char, '\n' | '\t') {
            return Err(CONTROL);
        }
        self.word().text.push(char);
        Ok(())
    }

    /// A line that goes on in the next one is read where it breaks between words. Elsewhere the
    /// break may stand within an operator, and shells differ.
    fn escaped(&mut self) -> Result<(), Unreadable> {
        match self.rest.next() {
            Some('\n') if self.after_blank => Ok(()),
            Some('\n') => Err(BROKEN),
            Some(char) => {
                self.word().quoted = true;
                self.quoted(char)
            }
            None => Err(Unreadable("a backslash at the end")),
        }
    }

    /// A variable's value is text and no more; but nobody knows which.
    fn dollar(&mut self, quotes: Quotes) -> Result<(), Unreadable> {
        match self.rest.peek() {
            Some('(') => return self.arithmetic(),
            Some('{') => return self.braced(),
            Some('\'' | '"') if quotes == Quotes::None => return Err(Unreadable("`$'…'`")),
            Some('[') => return Err(SUBSTITUTION),
            Some('\\') => return Err(BROKEN),
            Some(&char) if char == '_' || char.is_ascii_alphabetic() => {
                while self.rest.next_if(|&c| c == '_' || c.is_ascii_alphanumeric()).is_some() {}
            }
            Some('0'..='9' | '?' | '$' | '#' | '@' | '*' | '!' | '-') => {
                self.rest.next();
            }
            _ => {
                self.word().text.push('$');
                return Ok(());
            }
        }
        self.word().text.push_str("$…");
        self.word().certain = false;
        Ok(())
    }

    fn braced(&mut self) -> Result<(), Unreadable> {
        self.rest.next();
        let mut name = 0;
        while self.rest.next_if(|&c| c == '_' || c.is_ascii_alphanumeric()).is_some() {
            name += 1;
        }
        if name == 0 || self.rest.next() != Some('}') {
            return Err(Unreadable("`${…}` with more than a name"));
        }
        self.word().text.push_str("$…");
        self.word().certain = false;
        Ok(())
    }

    /// Of numbers only: a name in it may hold text that is evaluated.
    fn arithmetic(&mut self) -> Result<(), Unreadable> {
        self.rest.next();
        if self.rest.next() != Some('(') {
            return Err(SUBSTITUTION);
        }
        let digits = |c: &char| c.is_ascii_digit() || " +-*/%".contains(*c);
        while self.rest.next_if(digits).is_some() {}
        if self.rest.next() != Some(')') || self.rest.next() != Some(')') {
            return Err(Unreadable("arithmetic with more than numbers"));
        }
        self.word().text.push_str("$…");
        self.word().certain = false;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    Double,
}

const SUBSTITUTION: Unreadable = Unreadable("a command within a command");
const OPEN_QUOTE: Unreadable = Unreadable("a quote without its end");
const BROKEN: Unreadable = Unreadable("a line that is broken within a word");
const CONTROL: Unreadable = Unreadable("a control character");
