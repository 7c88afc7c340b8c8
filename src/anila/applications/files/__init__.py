"""People's files: images, tables and degradations read; pictures, arrays and tables written."""
