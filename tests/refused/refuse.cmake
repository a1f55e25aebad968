# Runs COMMAND, a compiler on a program, and demands that it fails and that its first error says SENTENCE.
execute_process(COMMAND ${COMMAND} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0)
    message(FATAL_ERROR "This program must be refused, and it was accepted.")
endif()
if(NOT output MATCHES "error: [^\n]*[^A-Za-z]${SENTENCE}")  # not a line of source that a compiler quotes
    message("${output}")
    message(FATAL_ERROR "It was refused, but not with the sentence '${SENTENCE}'.")
endif()
