/* SPDX-License-Identifier: Apache-2.0 */
/* The one file that is compiled for each module: the fault, and the module that has it. */
#include "decorator.h"

const enum decorator_fault decorator_fault = DECORATOR_FAULT;
const char *const decorator_inner = DECORATOR_INNER;
