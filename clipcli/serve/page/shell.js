// The command that gives the same result in a shell.

export function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

export function command(words) {
  return ["clip", ...words.map(quoted)].join(" ");
}

// A file by its name, which may look like an option.
export function named(file) {
  return file.startsWith("-") ? `./${file}` : file;
}

// Labels as --labels reads them; one that would mean something else is quoted.
export function listed(labels) {
  return labels.map((label) => (/^@|"/.test(label) ? `"${label.replaceAll('"', '""')}"` : label)).join(",");
}

// A text of a query with its weight; a caret of its own keeps its place behind a backslash.
export function weighted(value, weight) {
  const kept = value.replaceAll("^", "\\^");
  return weight === 1 ? kept : `${kept}^${weight}`;
}
