"""Which files of a folder are a project's: by git where there is one."""
