# Runs FIRST and SECOND and demands that both print the same.
foreach(program IN ITEMS FIRST SECOND)
    execute_process(COMMAND ${${program}} OUTPUT_VARIABLE output_${program} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
if(output_FIRST STREQUAL "" OR NOT output_FIRST STREQUAL output_SECOND)
    message(FATAL_ERROR "${FIRST} printed ${output_FIRST}${SECOND} printed ${output_SECOND}")
endif()
