/* The projects that `sluice plugin new` makes: the files of examples/plugins, put into the program when it is built. */
#ifndef PLUGIN_TEMPLATES_H
#define PLUGIN_TEMPLATES_H

#include <stddef.h>
#include <stdint.h>

/* One file of a project. */
typedef struct plugin_template {
  const char *language; /* c, swift, rust */
  const char *path;     /* below the project's folder */
  const uint8_t *bytes;
  size_t length;
  int is_executable;
} plugin_template;

/* File `index` of all projects, or NULL behind the last. Static. */
const plugin_template *plugin_template_at(size_t index);

#endif
