"""Records: all that one compilation did and made, as data for JSON; docs/record.md says what stands where."""
