"""A package, so that its backend ends with its last test: a fixture of scope `package` needs one."""
