// Shell completion. Each shell's script asks `autodidact complete` for candidates, so a script never goes stale,
// and what can be typed is worked out here, once, from the table of commands.
import { allFlags, type Choices, type Command, command, type Flags, namesOf } from "./command.ts";

/** A word that may come next, and what it means. */
export interface Candidate {
  word: string;
  help: string;
}

const scripts = {
  bash: `_autodidact() {
  local IFS=$'\\n'
  COMPREPLY=($(autodidact complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _autodidact autodidact`,
  zsh: `#compdef autodidact
_autodidact() {
  local -a found
  found=("\${(@f)$(autodidact complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null | sed -e 's/:/\\\\:/g' -e $'s/\\t$//' -e $'s/\\t/:/')}")
  if [[ -n "$found" ]]; then _describe 'autodidact' found; else _files; fi
}
compdef _autodidact autodidact`,
  fish: `function __autodidact_complete
  set -l words (commandline -opc)
  set -l typed (commandline -ct)
  set -l found (autodidact complete -- $words[2..-1] "$typed" 2>/dev/null)
  if set -q found[1]
    printf '%s\\n' $found
  else
    __fish_complete_path "$typed"
  end
end
complete -c autodidact -f -a '(__autodidact_complete)'`,
};

export default command({
  name: "completions",
  summary: "Print a script that completes commands, flags and names in a shell",
  args: { shell: { help: "bash, zsh or fish", choices: Object.keys(scripts) } },
  examples: ["autodidact completions bash >> ~/.bashrc", "autodidact completions fish > ~/.config/fish/completions/autodidact.fish"],
  async run({ args, print }) {
    print(scripts[args.shell as keyof typeof scripts]);
  },
});

/** Candidates for the last of `words`, which may be empty. None means a file's name or a value of one's own. */
export async function candidates(commands: readonly Command[], words: readonly string[]): Promise<Candidate[]> {
  const typed = words.at(-1) ?? "";
  const found = words.length < 2 ? rootWords(commands) : await commandWords(commands, words);
  return found.filter(({ word }) => word.startsWith(typed));
}

const rootWords = (commands: readonly Command[]): Candidate[] => [
  ...commands.map(({ name, summary }) => ({ word: name, help: summary })),
  { word: "--help", help: "Show help" },
  { word: "--version", help: "Show the version" },
];

async function commandWords(commands: readonly Command[], words: readonly string[]): Promise<Candidate[]> {
  const chosen = commands.find(({ name }) => name === words[0]);
  if (!chosen) return [];
  const flags = allFlags(chosen);
  const before = words.slice(1, -1);
  const flag = flags[(before.at(-1) ?? "").replace(/^--/, "")];
  if (before.at(-1)?.startsWith("--") && flag && flag.type !== "boolean") return flag.type === "choice" ? listed(flag.choices) : [];
  if (words.at(-1)?.startsWith("-")) return Object.entries(flags).map(([name, { help }]) => ({ word: `--${name}`, help }));
  const position = before.filter((word, i) => !word.startsWith("-") && !takesValue(flags, before[i - 1])).length;
  const argument = Object.values(chosen.args)[position];
  return argument?.choices ? listed(argument.choices) : [];
}

const takesValue = (flags: Flags, word = "") => word.startsWith("--") && (flags[word.slice(2)]?.type ?? "boolean") !== "boolean";

const listed = async (choices: Choices): Promise<Candidate[]> => (await namesOf(choices)).map((word) => ({ word, help: "" }));
