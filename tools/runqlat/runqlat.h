/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What gets a histogram of its own. */
enum { ONE_FOR_ALL, ONE_FOR_PROCESS, ONE_FOR_THREAD, ONE_FOR_PID_NAMESPACE };
