/* What a plugin may be linked to: has the text of its version, 13 bytes long. */

const char *linked_text(void) { return TEXT; }
