# SPDX-License-Identifier: Apache-2.0
# Fails when docs/configuration.md is not what the program generates: -DMBRIDGE=… -DDOCUMENT=…
execute_process(COMMAND ${MBRIDGE} backends --reference OUTPUT_VARIABLE generated
    RESULT_VARIABLE result)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "mbridge backends --reference failed: ${result}")
endif()
file(READ ${DOCUMENT} document)
if(NOT generated STREQUAL document)
    message(FATAL_ERROR "${DOCUMENT} is stale: mbridge backends --reference > ${DOCUMENT}")
endif()
