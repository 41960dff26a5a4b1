"""The methods: a file each, named like the method, that reads like its paper."""
