//! The book's chapters as tests read them: files to be written, commands to be run.

/// A fenced block of a chapter.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// ```` ```LANGUAGE,file=PATH ````: a file that the commands after it find.
    File { path: String, content: String },
    /// ```` ```sh ````: commands that are run.
    Commands { line: usize, script: String },
}

/// The blocks of a chapter that a test has to do with, in order. Commands marked ```` ```sh,elsewhere ```` are not among them, nor are
/// blocks of other languages without a file.
pub fn blocks(chapter: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = chapter.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let content = body.iter().map(|line| format!("{line}\n")).collect();
        if let Some((_, path)) = info.split_once(",file=") {
            blocks.push(Block::File { path: path.to_owned(), content });
        } else if info == "sh" {
            blocks.push(Block::Commands { line: at + 1, script: content });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_found() {
        let found =
            blocks("a\n```toml,file=o.toml\nx = 1\n```\n```sh,elsewhere\nno\n```\n```toml\nno\n```\n```sh\nyes\nyes\n```\n");
        let file = Block::File { path: "o.toml".into(), content: "x = 1\n".into() };
        assert_eq!(found, [file, Block::Commands { line: 11, script: "yes\nyes\n".into() }]);
    }
}
