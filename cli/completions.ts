/**
 * `ttrpc completions`: completion scripts for shells.
 *
 * @module
 */

import type { Command, Option } from "commander";

/**
 * The completion script of a shell.
 *
 * @param root The command.
 * @param shell The shell.
 * @returns The script.
 */
export function completions(root: Command, shell: "bash" | "zsh" | "fish"): string {
  return { bash, zsh, fish }[shell](root);
}

/** The names of an option: `--proto`, `-p`. */
function namesOf({ long, short }: Option): string[] {
  return [long, short].filter((name) => name !== undefined);
}

function optionsOf(command: Command): Option[] {
  return [...command.createHelp().visibleOptions(command)];
}

function commandsOf(root: Command): Command[] {
  return [...root.commands];
}

/** The values of an option: words to choose from, or files. */
function valuesOf(option: Option): readonly string[] | "files" | undefined {
  if (option.argChoices) return option.argChoices;
  return /<(file|folder)>/.test(option.flags) ? "files" : undefined;
}

function bash(root: Command): string {
  const names = commandsOf(root).map((command) => command.name());
  const cases = commandsOf(root).map((command) => {
    const options = optionsOf(command);
    const values = options.flatMap((option) => {
      const words = valuesOf(option);
      if (!option.required) return [];
      const reply = words === undefined
        ? "COMPREPLY=()"
        : words === "files"
        ? 'COMPREPLY=($(compgen -f -- "$word"))'
        : `COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$word"))`;
      return [`        ${namesOf(option).join("|")}) ${reply}; return ;;`];
    });
    const choices = command.registeredArguments[0]?.argChoices ?? [];
    return `    ${command.name()})
      case "$before" in
${values.join("\n")}
        *) ;;
      esac
      words="${choices.join(" ")}"
      options="${options.flatMap(namesOf).join(" ")}" ;;`;
  });
  return `# ttrpc completions bash > /etc/bash_completion.d/ttrpc
_ttrpc() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  local options="--help -h" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${names.join(" ")} $options" -- "$word"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    @*) COMPREPLY=($(compgen -P @ -f -- "\${word#@}")) ;;
    *) if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$word"))
       else COMPREPLY=($(compgen -f -- "$word")); fi ;;
  esac
}
complete -o filenames -F _ttrpc ttrpc
`;
}

function zsh(root: Command): string {
  const names = commandsOf(root).map((command) =>
    `    '${command.name()}:${quoted(command.description())}'`
  );
  const cases = commandsOf(root).map((command) => {
    const options = optionsOf(command).flatMap((option) => {
      const words = valuesOf(option);
      const value = !option.required
        ? ""
        : words === undefined
        ? ":value:"
        : words === "files"
        ? ":file:_files"
        : `:value:(${words.join(" ")})`;
      const text = option.description.replaceAll(/[[\]:]/g, " ");
      return namesOf(option).map((name) => `'*${name}[${quoted(text)}]${value}'`);
    });
    const choices = command.registeredArguments[0]?.argChoices;
    const rest = choices ? `'1:value:(${choices.join(" ")})'` : "'*:argument:_files'";
    return `    ${command.name()}) _arguments ${[...options, rest].join(" ")} ;;`;
  });
  return `#compdef ttrpc
# ttrpc completions zsh > "\${fpath[1]}/_ttrpc"
_ttrpc() {
  local -a commands=(
${names.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command="\${words[2]}"
  shift words
  (( CURRENT-- ))
  case "$command" in
${cases.join("\n")}
  esac
}
if [ "$funcstack[1]" = "_ttrpc" ]; then _ttrpc "$@"; else compdef _ttrpc ttrpc; fi
`;
}

function fish(root: Command): string {
  const lines = ["# ttrpc completions fish > ~/.config/fish/completions/ttrpc.fish"];
  for (const command of commandsOf(root)) {
    const name = command.name();
    lines.push(
      `complete -c ttrpc -n __fish_use_subcommand -f -a ${name} -d '${
        quoted(command.description())
      }'`,
    );
    for (const choice of command.registeredArguments[0]?.argChoices ?? []) {
      lines.push(`complete -c ttrpc -n '__fish_seen_subcommand_from ${name}' -f -a ${choice}`);
    }
    for (const option of optionsOf(command)) {
      const words = valuesOf(option);
      const value = !option.required
        ? ""
        : words === "files"
        ? " -r -F"
        : words === undefined
        ? " -x"
        : ` -x -a '${words.join(" ")}'`;
      const long = option.long ? ` -l ${option.long.slice(2)}` : "";
      const short = option.short ? ` -s ${option.short.slice(1)}` : "";
      lines.push(
        `complete -c ttrpc -n '__fish_seen_subcommand_from ${name}'${long}${short}${value} ` +
          `-d '${quoted(option.description)}'`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

function quoted(text: string): string {
  return text.replaceAll("'", "");
}
